"""The journal of an evaluation: one JSON file per evaluated network."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired, TypedDict

from ast_ray.errors import StoreError
from ast_ray.store.containers.documents import read_document
from ast_ray.store.typed import Count, Number, Share


class EvaluationRow(TypedDict):
    """One network: what it was trained on and how, its test accuracy, and the token of everything that decided it."""

    set: str
    network: str
    protocol: str
    seed: Count
    accuracy: Share
    loss: Number
    classes: Count
    images: Count
    lr: Number
    lr_source: str
    passes: Count
    augmentation: str
    best_pass: Count | None
    token: str
    seconds: NotRequired[Number]


def whole_row(path: Path) -> EvaluationRow | None:
    """Return a row; a damaged one counts as absent, since the network is evaluated again."""
    try:
        return read_document(path, EvaluationRow)
    except StoreError:
        return None
