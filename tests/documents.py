"""What the JSON files of a run say, for tests that compare it, and damage that only a checksum shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast_ray.storage.containers.documents import CHECKSUM, parsed, unsealed, write_document


def content(path: Path) -> Any:
    """What a document says: sealed, intact, and without its checksum."""
    return content_of(path.read_bytes())


def content_of(text: bytes) -> Any:
    """The same of a document's text."""
    found = parsed(text)
    assert isinstance(found, dict), f"no object: {text!r}"
    assert CHECKSUM in found, f"not sealed: {text!r}"
    return unsealed(found)


def rows(path: Path) -> list[Any]:
    """What the lines of a journal say."""
    return [unsealed(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def rewrite(path: Path, **changes: object) -> None:
    """Change names of a document as its writer would have written them."""
    told: Mapping[str, object] = content(path)
    write_document(path, {**told, **changes})
