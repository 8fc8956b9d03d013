"""Temporary files of writers that were killed: found by the lock a living writer holds, and deleted."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ast_ray.store.atomic import PREFIX
from ast_ray.store.lock import Holder, held

_YOUNG, _HOUR, _DAY = 60.0, 3600.0, 86400.0  # seconds
_SAFETENSORS = re.compile(r"\.tmp\w{6}")  # its own temporary file, beside ours and without a lock


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete what killed writers left in ``folder`` and below; return it.

    `atomic_path` locks its temporary file, and the kernel drops the lock with its holder, so a file that can be
    locked has no writer. Very young files are left alone (a writer locks its file just after making it). Without a
    lock to ask, age decides.
    """
    removed = []
    for path in folder.rglob(".*"):
        try:
            if path.is_file() and _abandoned(path, time.time() - path.stat().st_mtime):
                path.unlink()
                removed.append(path)
        except FileNotFoundError:  # published or deleted meanwhile
            continue
    return removed


def _abandoned(path: Path, age: float) -> bool:
    if _SAFETENSORS.fullmatch(path.name):
        return age > _HOUR
    if not path.name.startswith(PREFIX) or age < _YOUNG:
        return False
    holder = held(path)
    return holder is Holder.NOBODY or (holder is Holder.UNKNOWN and age > _DAY)
