"""One writer per folder: an advisory lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from ast_ray.errors import ResourceError

_POLL = 0.2
_UNSUPPORTED = {errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}


@contextmanager
def exclusive(path: Path, *, wait: bool, owner: str) -> Iterator[None]:
    """Hold the lock file ``path`` for the length of the block; ``owner`` names the work in the error.

    File systems without locks are used without.

    Raises:
        ResourceError: someone else holds it and ``wait`` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        while not try_lock(file.fileno()):
            if not wait:
                raise ResourceError(f"{path.parent}: {owner} is at work in this folder; wait for it or end it")
            time.sleep(_POLL)
        yield


class Holder(Enum):
    """The holder of a lock; unknown where the file system has none."""

    SOMEBODY, NOBODY, UNKNOWN = range(3)


def held(path: Path) -> Holder:
    """Return whether a process holds ``path``, by trying for an instant; the file itself is left as it is."""
    with path.open("rb") as file:
        return _tried(file.fileno())


def remove_unheld(path: Path) -> Holder:
    """Delete a file that nobody holds, and say who held it; its lock is kept until it is gone.

    A writer that locks a file just after making it finds it deleted then (`hold_new`).
    """
    with path.open("rb") as file:
        holder = _tried(file.fileno())
        if holder is Holder.NOBODY:
            path.unlink()
        return holder


def _tried(descriptor: int) -> Holder:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder.SOMEBODY
    except OSError:
        return Holder.UNKNOWN
    return Holder.NOBODY


def hold(descriptor: int) -> None:
    """Hold an open file until its descriptor is closed or the process dies; nothing where there are no locks."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def hold_also(descriptor: int) -> None:
    """Hold an open file unless this process does so already by another descriptor."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def hold_new(descriptor: int) -> bool:
    """Hold a file that was just made; return whether it is still there, and not deleted as somebody's left-over."""
    hold(descriptor)
    return os.fstat(descriptor).st_nlink > 0


def try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody else has; file systems without locks grant every one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True
