"""The outcome of a distillation: what ``outcome.json`` says, and whether the sets it speaks of are there and whole.

A distillation is finished when both hold. One whose set was deleted or damaged is made again, from its checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.records import outcome as records
from ast_ray.storage.records.outcome import Outcome
from ast_ray.storage.run_directory import MethodDirectory


def publish_outcome(directory: MethodDirectory, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write the outcome, which is the last of all files, with the checksums of the sets; return all of it."""
    outcome = {**values, "files": {path.name: _sum(path) for path in _sets(directory)}}
    write_document(directory.outcome, outcome)
    return outcome


def read_outcome(directory: MethodDirectory) -> Outcome | None:
    """Return the outcome, or None where nothing is published.

    Raises:
        StoreError: the file is damaged.
    """
    return records.read_outcome(directory.outcome) if directory.fetch(directory.outcome) else None


def damage(directory: MethodDirectory, outcome: Outcome) -> str:
    """Name the sets of an outcome that are missing or damaged; empty when all are whole."""
    found = []
    for path in _sets(directory):
        try:
            if not directory.fetch(path):
                found.append(f"{path.name} is missing")
            elif not path.is_file() or not _whole(path, outcome.get("files", {}).get(path.name)):
                found.append(f"{path.name} is damaged")
        except (OSError, StoreError, SafetensorError):
            found.append(f"{path.name} is damaged")
    return ", ".join(found)


def is_finished(directory: MethodDirectory, fingerprint: str) -> bool:
    """Return whether this very distillation has published its outcome and its sets are whole."""
    try:
        outcome = read_outcome(directory)
    except StoreError:
        return False
    return outcome is not None and outcome["fingerprint"] == fingerprint and not damage(directory, outcome)


def _sets(directory: MethodDirectory) -> tuple[Path, Path]:
    return directory.synthetic, directory.last


def _whole(path: Path, wanted: str | None) -> bool:
    if wanted is not None:
        return _sum(path) == wanted
    with safe_open(path, framework="np") as file:  # an earlier version's: at least every tensor can be read
        for name in file.keys():  # noqa: SIM118
            file.get_tensor(name)
    return True


def _sum(path: Path) -> str:
    stat = path.stat()
    return _sum_at(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _sum_at(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
