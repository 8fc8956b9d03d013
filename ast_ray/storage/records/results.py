"""``results.json``: the final table of a run, or of ``ast-ray evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import read_document
from ast_ray.storage.typed import Bounds, Count, Number, Share

AtLeastOne = Annotated[int, Bounds(1, 2**53)]


class ResultRow(TypedDict):
    """One set on one network under one protocol: accuracy over n networks, and DD-Ranking's scores where there are.

    ``targets`` as in `storage.records.evaluation.EvaluationRow`.
    """

    set: str
    network: str
    protocol: str
    mean: Share
    std: Share | None
    n: AtLeastOne
    images: Count
    seeds: NotRequired[list[Count]]
    accuracies: NotRequired[list[Share]]
    ior: NotRequired[Number | None]
    hlr: NotRequired[Number | None]
    lrs: NotRequired[Number | None]
    ars: NotRequired[Number | None]
    targets: NotRequired[Literal["soft", "hard"]]


class Results(TypedDict):
    """The table, and in a run's the means of each method's experts, comparisons in words, and what failed."""

    rows: list[ResultRow]
    experts: NotRequired[dict[str, dict[str, Any]]]
    verdicts: NotRequired[list[dict[str, Any]]]
    failed: NotRequired[list[dict[str, Any]]]


def read_results(path: Path) -> Results | None:
    """Return the table, or None where there is none.

    Raises:
        StoreError: damaged.
    """
    return read_document(path, Results, hint="delete it and the same command makes it again")


def whole_results(path: Path) -> Results | None:
    """Return the table; a damaged one counts as absent, since a run makes it again."""
    try:
        return read_results(path)
    except StoreError:
        return None
