"""Temporary files of writers that were killed: found by the lock a living writer holds, and deleted."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ast_ray.storage.atomic import PREFIX
from ast_ray.storage.lock import Holder, remove_unheld

_YOUNG = 2.0  # seconds
_MINUTE = 60.0
_HOUR = 3600.0
_DAY = 86400.0
_UNLOCKED = re.compile(r"\.partial-\d+-")  # of a mirror's checksums, written in an instant
_SAFETENSORS = re.compile(r"\.tmp\w{6}")  # its own temporary file, beside ours and without a lock


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete what killed writers left in ``folder`` and below; return it.

    `atomic_path` locks its temporary file, and the kernel drops the lock with its holder, so a file that can be
    locked has no writer. One of this moment is left alone: safetensors puts a file of its own in its place, which is
    locked an instant later. Where there are no locks, and for files that are made without one, age decides.
    """
    removed = []
    for path in folder.rglob(".*"):
        try:
            if path.is_file() and _removed(path, time.time() - path.stat().st_mtime):
                removed.append(path)
        except FileNotFoundError:  # published or deleted meanwhile
            continue
    return removed


def _removed(path: Path, age: float) -> bool:
    """Delete a file if its writer is gone; return whether it did."""
    if _SAFETENSORS.fullmatch(path.name):
        old = age > _HOUR
    elif _UNLOCKED.match(path.name):
        old = age > _MINUTE
    elif path.name.startswith(PREFIX) and age > _YOUNG:
        holder = remove_unheld(path)
        if holder is Holder.NOBODY:
            return True
        old = holder is Holder.UNKNOWN and age > _DAY
    else:
        return False
    if old:
        path.unlink()
    return old
