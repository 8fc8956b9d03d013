"""``outcome.json``: how a distillation ended. Its presence means that it is finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import read_document
from ast_ray.storage.typed import Count, Number, Share


class Outcome(TypedDict):
    """Iterations done; the published one with its validation accuracy and alpha; what was noticed.

    ``files`` holds the SHA-256 of each set by file name; outcomes of earlier versions have none.
    """

    fingerprint: str
    iterations: Count
    best_iteration: Count
    validation_accuracy: Share
    student_lr: Number
    method: NotRequired[str]
    files: NotRequired[dict[str, str]]
    skipped: NotRequired[Count]
    coverage: NotRequired[dict[str, Any]]
    relative_loss: NotRequired[Number | None]
    warning: NotRequired[str | None]
    engine: NotRequired[str]
    gradient: NotRequired[str]


def read_outcome(path: Path) -> Outcome | None:
    """Return the outcome, or None where the distillation is not finished.

    Raises:
        StoreError: damaged.
    """
    return read_document(path, Outcome, hint="delete it and the same run makes it again")


def whole_outcome(path: Path) -> Outcome | None:
    """Return the outcome; a damaged one counts as absent, since a run makes it again."""
    try:
        return read_outcome(path)
    except StoreError:
        return None
