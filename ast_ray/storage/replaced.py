"""A file under a name that nobody typed is replaced only where ast-ray wrote it."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path

from ast_ray.config.files import reason
from ast_ray.errors import ResourceError, StoreError

_HEAD = 4096


def check_own(target: Path, mark: bytes, option: str, *, anywhere: bool = False) -> None:
    """Refuse to replace a file that does not carry our mark; ``option`` names another one.

    The mark lies near the beginning, unless it may lie ``anywhere``.

    Raises:
        StoreError: somebody else's file, folder or pipe; ResourceError: it cannot be read.
    """
    if not target.exists():
        return
    try:
        with target.open("rb") if target.is_file() else nullcontext(io.BytesIO()) as file:
            head = file.read(-1 if anywhere else _HEAD)
    except OSError as error:
        raise ResourceError(f"{target}: cannot be read ({reason(error)})") from error
    if mark not in head:
        told = "exists and was not written by ast-ray; move it, or name another file"
        raise StoreError(f"{target}: {told} with {option}")
