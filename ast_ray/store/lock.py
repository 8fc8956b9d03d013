"""One writer per folder: an advisory lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
        while not _try_lock(file.fileno()):
            if not wait:
                raise ResourceError(f"{path.parent}: {owner} is at work in this folder; wait for it or end it")
            time.sleep(_POLL)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True
