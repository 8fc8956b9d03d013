"""JSON documents: one object of a known type per file, sealed with a checksum.

The checksum is the last name of the object and covers everything beside it, in whatever order and spacing. A document
without one, of an earlier version, is read as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from ast_ray.config.text_seal import PREFIX, text_checksum
from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage.atomic import write_json
from ast_ray.storage.containers.opening import parsing, require_file
from ast_ray.storage.typed import checked

T = TypeVar("T")
CHECKSUM = "checksum"
MARK = f'"{CHECKSUM}": "'.encode()
"""Bytes of every document that was written here."""


def write_document(path: Path, values: Mapping[str, object]) -> None:
    """Publish an object with its checksum atomically."""
    write_json(path, sealed(values))


def read_document(path: Path, kind: type[T], *, hint: str = "", error: type[AstRayError] = StoreError) -> T | None:
    """Return what a file holds, checked against its checksum and the type; None where there is no file.

    Raises:
        error: not a regular file, not JSON, not what was written, or not of the type; says what to do by ``hint``.
    """
    if not path.exists() and not path.is_symlink():
        return None
    require_file(path, error)
    with parsing(path, error, hint=hint):
        return checked(unsealed(parsed(path.read_bytes())), kind)


def sealed(values: Mapping[str, object]) -> dict[str, object]:
    """Return an object with the checksum of all of it as its last name."""
    return {**values, CHECKSUM: text_checksum(canonical(values))}


def sealed_line(values: Mapping[str, object]) -> str:
    """Return an object as one line of a journal, with its checksum."""
    return json.dumps(sealed(values)) + "\n"


def unsealed(found: object) -> object:
    """Return what was sealed, its checksum compared and left out; a value without one is returned as it is.

    Raises:
        ValueError: the checksum is another one, or its name is damaged.
    """
    if not isinstance(found, dict):
        return found
    if CHECKSUM not in found:
        last = next(reversed(found.values()), None)
        if isinstance(last, str) and last.startswith(PREFIX):
            raise ValueError("the name of its checksum is damaged")
        return found
    values = {name: value for name, value in found.items() if name != CHECKSUM}
    if found[CHECKSUM] != text_checksum(canonical(values)):
        raise ValueError("its checksum is wrong")
    return values


def canonical(values: Mapping[str, object]) -> str:
    """Return the one text that stands for plain values, however they are ordered and spaced in a file."""
    return json.dumps(json.loads(json.dumps(values)), sort_keys=True)


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
