"""Write files whole or not at all: a temporary file beside the target, a rename, an upload where there is one."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ast_ray.config.files import reason
from ast_ray.errors import ResourceError
from ast_ray.storage import mirror
from ast_ray.storage.lock import hold_also, hold_new
from ast_ray.storage.permissions import FILE

PREFIX = ".partial-"


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk without room, or of a file that may not grow."""


_OS_ERROR = re.compile(r"os error (\d+)")


@contextmanager
def writing(target: Path, *, told: str = "cannot write") -> Iterator[None]:
    """Turn what the system refuses in the block into one error that names the target.

    Raises:
        ResourceError: no permission, no space, a folder in the way, or storage that is gone.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        told_code = _OS_ERROR.search(str(error))  # safetensors has its number in words only
        code = error.errno if isinstance(error, OSError) else int(told_code[1]) if told_code else None
        todo = "; free space, then give the same command again" if code in FULL else ""
        raise ResourceError(f"{told} {mirror.shown(target)}: {reason(error)}{todo}") from error


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; publish it under the target's name if the block succeeds.

    A target that stands for an address in an object store is uploaded (`mirror.publish`).

    Raises:
        ResourceError: the folder cannot be written (permission, no space), or the address cannot be reached.
    """
    with writing(target.parent, told="cannot write in"):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = new_file(target)
    temporary = Path(name)
    try:
        with writing(target):
            yield temporary
            with temporary.open("rb") as file:
                hold_also(file.fileno())  # safetensors puts another file in its place, which nobody has locked
                os.fsync(file.fileno())
                temporary.chmod(FILE)
                os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)
    mirror.publish(target)


def new_file(target: Path) -> tuple[int, str]:
    """Make a temporary file beside the target; return its descriptor and its name.

    It is locked for as long as the descriptor is open, so that `leftovers` can tell a living writer from a dead one.
    """
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=PREFIX, suffix=target.suffix)
        if hold_new(handle):
            return handle, name
        os.close(handle)


def write_text(target: Path, text: str) -> None:
    """Publish a text file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: object) -> None:
    """Publish a JSON file atomically."""
    write_text(target, json.dumps(value, indent=1, allow_nan=False) + "\n")
