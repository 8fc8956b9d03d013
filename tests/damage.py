"""Ways to damage a file, each with a name: what a fuzz does to every file that a command may read."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

FLIPS, DIGITS = 16, 6
_JSON = {
    "null": b"null",
    "true": b"true",
    "number": b"7",
    "text": b'"text"',
    "list": b'[{"iteration": null}]',
    "object": b'{"rows": [null], "commands": {}, "identity": [], "classes": 3}',
}


class Damage(NamedTuple):
    """A name, and what is done to a path that holds a file."""

    name: str
    apply: Callable[[Path], object]

    @property
    def subtle(self) -> bool:
        """Whether a single bit or digit is wrong, which only a checksum is sure to notice."""
        return self.name.startswith(("bit", "digit"))

    @property
    def cut(self) -> bool:
        """Whether the end of the file is missing."""
        return self.name in ("half of it", "all but the last byte", "empty")


def damages(content: bytes, *, flips: int = FLIPS) -> Iterator[Damage]:
    """Cut off, emptied, each type of JSON, one bit or digit wrong at many places, a folder or a pipe there, gone."""
    yield Damage("half of it", lambda path: path.write_bytes(content[: len(content) // 2]))
    yield Damage("all but the last byte", lambda path: path.write_bytes(content[:-1]))
    yield Damage("empty", lambda path: path.write_bytes(b""))
    for name, value in _JSON.items():
        yield Damage(f"JSON {name}", lambda path, value=value: path.write_bytes(value))
    generator = random.Random(len(content))
    for _ in range(flips):
        at, bit = generator.randrange(len(content)), 1 << generator.randrange(8)
        flipped = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        yield Damage(f"bit {bit} of byte {at}", lambda path, flipped=flipped: path.write_bytes(flipped))
    if flips:
        yield from _other_digits(content, generator)
    yield Damage("a folder", _folder)
    yield Damage("a pipe", _pipe)
    yield Damage("missing", lambda path: path.unlink())


def _other_digits(content: bytes, generator: random.Random) -> Iterator[Damage]:
    """A digit of a text in place of another: still the text of a number, which no parser objects to."""
    found = [] if b"\0" in content else list(changed_digits(content))
    for number, changed in enumerate(generator.sample(found, min(DIGITS, len(found)))):
        yield Damage(f"digit {number}", lambda path, changed=changed: path.write_bytes(changed))


def changed_digits(content: bytes) -> Iterator[bytes]:
    """A text with each of its digits in turn replaced by the next one."""
    for at, byte in enumerate(content):
        if byte in b"0123456789":
            yield content[:at] + str((byte - ord("0") + 1) % 10).encode() + content[at + 1 :]


def flipped_bits(content: bytes) -> Iterator[bytes]:
    """A file's content with each bit in turn flipped."""
    for at, byte in enumerate(content):
        for bit in range(8):
            yield content[:at] + bytes([byte ^ 1 << bit]) + content[at + 1 :]


def coarse(content: bytes) -> Iterator[Damage]:
    """The few that show whether a file is looked at."""
    yield from (damage for damage in damages(content, flips=0) if damage.name in ("empty", "a folder", "a pipe"))


def repaired(path: Path, content: bytes) -> None:
    """Put the content back, whatever stands in its place."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
