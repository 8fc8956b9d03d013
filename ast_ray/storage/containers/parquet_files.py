"""Parquet files: opened, read, compared with the schema they should have, their footer with its checksum.

The format's own checksums cover its pages alone. The footer says where everything lies and holds metadata and
statistics. Its SHA-256 is among that metadata, computed with zeros in its place, and is compared before anything parses
the footer: the parser may not survive a damaged one. Files without it, made earlier or by others, are read as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ast_ray.config.files import MISSING
from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage.containers.opening import parsing, require_file


@contextmanager
def open_parquet(
    path: Path,
    *,
    hint: str = "",
    missing: str = MISSING,
    error: type[AstRayError] = StoreError,
    source: Any = None,
) -> Iterator[pq.ParquetFile]:
    """Open a file, or ``source`` in its place; footer and page checksums are verified. The block only reads through it.

    Raises:
        error: missing, not a regular file, or damaged, also when that shows inside the block.
    """
    if source is None:
        require_file(path, error, missing=missing)
    with parsing(path, error, hint=hint):
        if source is not None:
            check_footer(source, source.size())
        else:
            with path.open("rb") as whole:
                check_footer(whole, path.stat().st_size)
        options: dict[str, Any] = {"pre_buffer": True} if source is not None else {"memory_map": True}
        with pq.ParquetFile(source or path, page_checksum_verification=True, **options) as file:
            yield file


def require_columns(file: pq.ParquetFile, fields: Sequence[pa.Field]) -> None:
    """Check that a file's columns are exactly these, in this order.

    The schema is the first thing to look at: a footer that contradicts it makes pyarrow's look at single chunks
    (``metadata.row_group(n).column(m)``) end the process.

    Raises:
        ValueError: other columns.
    """
    found = file.schema_arrow.remove_metadata()
    wanted = pa.schema(fields)
    if not found.equals(wanted):
        raise ValueError(f"its columns are {_named(found)}, expected {_named(wanted)}")


def _named(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema)


FOOTER_KEY, UNSEALED = "ast_ray_footer_sha256", "0" * 64
_MAGIC, _TAIL = b"PAR1", 2**16
# Parquet's Thrift: the key, then a field of text (0x18) of 64 (0x40) characters.
_SEALED = re.compile(re.escape(FOOTER_KEY.encode()) + rb"(?:\x18\x40([0-9a-f]{64}))?")


def seal_footer(path: Path) -> None:
    """Write the footer's checksum into its place, which `UNSEALED` under `FOOTER_KEY` keeps free in the metadata."""
    with path.open("r+b") as file:
        footer, start = _footer(file, path.stat().st_size)
        found = _SEALED.search(footer)
        assert found is not None, "no place for the checksum"
        assert found[1] == UNSEALED.encode(), "sealed already"
        file.seek(start + found.start(1))
        file.write(hashlib.sha256(footer).hexdigest().encode())


def check_footer(file: BinaryIO, size: int) -> None:
    """Compare the footer of an open Parquet file of ``size`` bytes with its checksum, before anything parses it.

    Raises:
        ValueError: not a whole Parquet file, or a damaged footer.
    """
    footer, _ = _footer(file, size)
    found = _SEALED.search(footer)
    if found is None:
        return
    if found[1] is not None:
        place = slice(*found.span(1))
        blank = footer[: place.start] + UNSEALED.encode() + footer[place.stop :]
        if hashlib.sha256(blank).hexdigest().encode() == found[1]:
            return
    raise ValueError("its footer is damaged")


def _footer(file: BinaryIO, size: int) -> tuple[bytes, int]:
    """The footer's bytes and where they begin."""
    file.seek(max(0, size - _TAIL))
    tail = bytes(file.read(min(size, _TAIL)))
    if size < 12 or tail[-4:] != _MAGIC:
        raise ValueError("it does not end as one")
    length = int.from_bytes(tail[-8:-4], "little")
    start = size - 8 - length
    if start < 4:
        raise ValueError("its footer is longer than the file")
    if length + 8 > len(tail):
        file.seek(start)
        tail = bytes(file.read(length + 8))
    return tail[-8 - length : -8], start
