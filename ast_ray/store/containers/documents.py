"""JSON documents: one object of a known type per file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from ast_ray.errors import AstRayError, StoreError
from ast_ray.store.containers.opening import parsing, require_file
from ast_ray.store.typed import checked

T = TypeVar("T")


def read_document(path: Path, kind: type[T], *, hint: str = "", error: type[AstRayError] = StoreError) -> T | None:
    """Return what a file holds, checked against the type; None where there is no file.

    Raises:
        error: not a regular file, not JSON, or not of the type; says what to do by ``hint``.
    """
    if not path.exists() and not path.is_symlink():
        return None
    require_file(path, error)
    with parsing(path, error, hint=hint):
        return checked(parsed(path.read_bytes()), kind)


def parsed(content: bytes | str, *, strict: bool = True) -> object:
    """Return what JSON text stands for; ``strict`` refuses NaN and infinity, which JSON does not have.

    Raises:
        ValueError: not JSON, not UTF-8, or nested too deeply.
    """
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    try:
        found: object = json.loads(text, parse_constant=_refuse if strict else None)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a number in JSON")
