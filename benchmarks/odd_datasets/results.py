"""The results file: one JSON object per measured set, appended, never rewritten; and the verdict on each."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from benchmarks.reproduce import results as reproduce

RESULTS = reproduce.ROOT / "benchmarks" / "results" / "odd_datasets.jsonl"
Row = Mapping[str, Any]
Verdict = Literal["above", "below", "refused", "failed"]
SHOWN = ("random", "representative", "mtt", "ast", "full")
_REQUIRED = ("set", "digest", "package", "verdict", "accuracy", "seconds", "exit_code", "commit", "when", "hardware")


def verdict(accuracy: Mapping[str, Mapping[str, Any]], *, refused: bool) -> Verdict:
    """Judge a run: AST above random real images or not, else refused before the work, or failed in it.

    ``accuracy``: by set, each with its ``mean``. A run that has both sets is judged by them whatever else it lacks.

    >>> verdict({"ast": {"mean": 0.5}, "random": {"mean": 0.5}}, refused=False)
    'below'
    """
    if "ast" in accuracy and "random" in accuracy:
        return "above" if accuracy["ast"]["mean"] > accuracy["random"]["mean"] else "below"
    return "refused" if refused else "failed"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return every row, in the order written.

    Raises:
        StoreError: a line is not a row; names it.
    """
    return reproduce.read_rows(path, _REQUIRED)


def append_row(path: Path, row: Row) -> None:
    """Append one line, whole, whoever else appends at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(row, allow_nan=False) + "\n")


def newest(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the last row of every set, by the set's name."""
    return {str(row["set"]): row for row in rows}


def is_measured(rows: Iterable[Row], name: str, content: str, package: str = "") -> bool:
    """Tell if a set of this content has a row; with ``package``, one of this version of the package."""
    return any(
        (row["set"], row["digest"]) == (name, content) and (not package or row["package"] == package) for row in rows
    )
