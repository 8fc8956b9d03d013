"""The journal of an evaluation: one JSON file per evaluated network."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import read_document
from ast_ray.storage.typed import Count, Number, Share


class EvaluationRow(TypedDict):
    """One network: what it was trained on and how, its test accuracy, and the token of everything that decided it.

    ``targets`` is there of a set with soft labels: whether the network was trained on them or on the hard ones.
    """

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
    targets: NotRequired[Literal["soft", "hard"]]


class FailedRow(TypedDict):
    """A network that diverged, in its row's place: why, under which token and versions."""

    token: str
    failure: dict[str, Any]
    versions: dict[str, Any]


def whole_row(path: Path) -> EvaluationRow | None:
    """Return a row; a damaged one counts as absent, since the network is evaluated again."""
    found = whole_entry(path)
    return cast(EvaluationRow, found) if found is not None and "accuracy" in found else None


def whole_entry(path: Path) -> EvaluationRow | FailedRow | None:
    """Return a row or why there is none; a damaged file counts as absent, as does one that is neither."""
    with suppress(StoreError):
        return read_document(path, EvaluationRow)
    with suppress(StoreError):
        return read_document(path, FailedRow)
    return None
