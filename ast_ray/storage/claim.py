"""One run per folder: whoever works in it holds its lock file, and at an address a lease as well (`storage.lease`).

The kernel drops the lock with its holder, however that ends, so a killed run leaves nothing that anybody has to delete.
Commands that only read hold nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path

from ast_ray.errors import ResourceError
from ast_ray.storage import mirror
from ast_ray.storage.claimant import Claimant, refusal
from ast_ray.storage.lease import leased
from ast_ray.storage.lock import try_lock

_TRIES = 1000


@contextmanager
def claimed(lock: Path, kind: str, command: Sequence[str]) -> Iterator[None]:
    """Work alone in the folder of the file ``lock`` for the length of the block.

    ``kind`` names in the error what somebody else does there. The folders made for the lock go with it where they are
    empty, so that a run which is refused later leaves nothing behind. File systems without locks are used without.

    Raises:
        ResourceError: somebody works there (says who), or the folder cannot be written.
    """
    folder, claimant = lock.parent, Claimant.here(command)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        descriptor = _lock(lock)
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be written ({error.strerror or error})") from error
    if descriptor is None:
        raise refusal(folder, kind, _claimant(lock))
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, claimant.encode(), 0)
        address = mirror.address_of(folder)
        with leased(folder, address, kind, claimant) if address else nullcontext():
            yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)
        with suppress(OSError):
            for path in made:
                path.rmdir()


def _lock(path: Path) -> int | None:
    """An open descriptor that holds the lock; None where somebody else does.

    A holder deletes the file before it lets go, so a lock on a file that is no longer there is worth nothing.
    """
    for attempt in count():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # a file of that name, or a folder that goes with its lock in this moment
            if attempt >= _TRIES:
                raise
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if not try_lock(descriptor):
                os.close(descriptor)
                return None
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)
    return None


def _claimant(path: Path) -> Claimant | None:
    try:
        return Claimant.parse(path.read_bytes())
    except OSError:
        return None
