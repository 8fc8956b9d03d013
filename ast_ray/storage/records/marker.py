"""``buffer.json``: whose experts lie in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from ast_ray.storage.containers.documents import read_document


class Marker(TypedDict):
    """The settings that decide the experts' bytes, and their hash."""

    fingerprint: str
    identity: dict[str, Any]


def read_marker(path: Path) -> Marker | None:
    """Return what a folder of experts says it is, or None where it says nothing.

    Raises:
        StoreError: damaged, or not a buffer description.
    """
    return read_document(
        path, Marker, hint="not a buffer description; delete it if the experts beside it are this run's"
    )
