"""A checksum for the footer of a Parquet file; the format's own cover its pages alone.

The footer says where everything lies and holds metadata and statistics. Its SHA-256 is among that metadata, computed
with zeros in its place, and is compared before anything parses the footer: the parser may not survive a damaged one.
Files without it, made earlier or by others, are read as they are.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

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
