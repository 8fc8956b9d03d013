"""The results file: one JSON object per finished cell, appended, never rewritten. The tables come from it alone."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ast_ray.errors import StoreError
from ast_ray.telemetry.provenance import environment
from benchmarks.reproduce.cells import Cell

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "cells.jsonl"
Row = Mapping[str, Any]
_REQUIRED = ("study", "scale", "base", "variant", "seed", "recipe", "cell", "accuracy", "commit", "when")


def provenance(commit: str = "") -> dict[str, Any]:
    """When, from which commit, on what."""
    found = environment()
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit or current_commit(),
        "hardware": {name: found[name] for name in ("processor", "cpus", "gpu")},
        "versions": {name: found["versions"][name] for name in ("torch", "ray")},
    }


def current_commit() -> str:
    """Short hash of the checkout, with ``+`` when its code has uncommitted changes; ``unknown`` outside git."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "ast_ray", "benchmarks/reproduce")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def row_of(cell: Cell, measured: Row, about: Row) -> dict[str, Any]:
    """A line of the results file."""
    names = {
        "study": cell.study.name,
        "scale": cell.scale,
        "base": cell.base,
        "variant": cell.variant.name,
        "seed": cell.seed,
        "recipe": cell.recipe,
        "cell": cell.fingerprint,
    }
    return {**names, **measured, **about}


def append_row(path: Path, row: Row) -> None:
    """Append one line, whole, whoever else appends at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if identity(row) not in {identity(found) for found in read_rows(path)}:
            file.write(json.dumps(row, allow_nan=False) + "\n")


def identity(row: Row) -> tuple[str, ...]:
    """What makes a row a second one of the same cell of the same study."""
    return tuple(str(row[name]) for name in ("study", "scale", "base", "variant", "seed", "cell"))


def cell_identity(cell: Cell) -> tuple[str, ...]:
    """The identity of the row a cell gets."""
    return identity(row_of(cell, {}, {}))


def read_rows(path: Path, required: Sequence[str] = _REQUIRED) -> list[dict[str, Any]]:
    """Every row, in the order written.

    Raises:
        StoreError: a line is not a row; names it.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            missing = [name for name in required if name not in row]
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path}, line {number}: not a row of results ({error})") from error
        if missing:
            raise StoreError(f"{path}, line {number}: lacks {', '.join(missing)}")
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Group:
    """All seeds of one variant: the rows of its newest recipe."""

    rows: tuple[Row, ...]

    @property
    def seeds(self) -> dict[int, Row]:
        """Rows by seed."""
        return {int(row["seed"]): row for row in self.rows}

    def accuracies(self, network: str = "", protocol: str = "strict") -> dict[int, float]:
        """Mean accuracy over a cell's networks, in %, by seed; a seed that diverged is absent."""
        found = {}
        for seed, row in sorted(self.seeds.items()):
            networks = row["accuracy"]
            values = networks.get(network or next(iter(networks), ""), {}).get(protocol)
            if values:
                found[seed] = 100 * sum(values) / len(values)
        return found

    @property
    def diverged(self) -> int:
        """Seeds without a result."""
        return sum(row.get("diverged") is not None for row in self.rows)


def group(rows: Iterable[Row], study: str, scale: str, base: str, variant: str) -> Group | None:
    """The rows of one variant; those of older recipes, made with other settings, are left out."""
    names = ("study", "scale", "base", "variant")
    mine = [row for row in rows if tuple(row[name] for name in names) == (study, scale, base, variant)]
    if not mine:
        return None
    newest = mine[-1]["recipe"]
    return Group(tuple(row for row in mine if row["recipe"] == newest))
