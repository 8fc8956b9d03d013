"""A lease on a run's address: object stores have no locks, so a small object names the holder, who renews it.

A holder that was killed renews nothing: `TERM` seconds later, by the store's own clock, whoever comes next takes over.
On the holder's own machine its death shows at once. Two that come in the same moment see each other's object after
`SETTLE` seconds. A holder that was cut off for longer than `TERM` finds the other's name in its place and stops.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ast_ray.config.address import Address
from ast_ray.errors import ResourceError, counted
from ast_ray.signals import interrupt
from ast_ray.storage import mirror, object_store
from ast_ray.storage.claimant import Claimant, refusal

TERM = 60.0  # seconds
RENEWAL = 10.0
SETTLE = 1.0


@dataclass
class _Renewal:
    """Renews a lease in a thread until it is stopped, or until it is somebody else's."""

    address: Address
    holder: Claimant
    lost: bool = False

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._stopped.wait(RENEWAL):
            with suppress(ResourceError):  # no answer now; the next renewal may have one
                content = object_store.read(self.address)
                if content not in (None, self.holder.encode()):
                    self.lost = True
                    interrupt()
                    return
                object_store.write(self.address, self.holder.encode())

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join(RENEWAL)


@contextmanager
def leased(folder: Path, address: Address, kind: str, holder: Claimant) -> Iterator[None]:
    """Hold the lease on an address for the length of the block; ``folder`` is its mirror, whose lock is held already.

    Raises:
        ResourceError: somebody else holds it, or took it over while the store could not be reached.
    """
    place = Address(address.scheme, address.bucket, f"{address.key}/{mirror.LEASE}".lstrip("/"), address.options)
    _take(folder, place, kind, holder)
    renewal = _Renewal(place, holder)
    try:
        yield
    except KeyboardInterrupt:
        if not renewal.lost:
            raise
        told = f"this one could not renew its lease for {TERM:.0f} seconds, and {kind} took the address over"
        raise ResourceError(f"{mirror.shown(folder)}: {told}; it stops here") from None
    finally:
        renewal.stop()
        with suppress(ResourceError):
            if not renewal.lost:
                object_store.delete(place)


def _take(folder: Path, place: Address, kind: str, holder: Claimant) -> None:
    content = object_store.read(place)
    if content is not None:
        other = Claimant.parse(content)
        left = 0.0 if other is not None and other.died_here() else TERM - _age(place)
        if left > 0:
            hint = f"; if it was killed, its lease ends in {counted(round(left), 'second')}"
            raise refusal(folder, kind, other, hint)
    object_store.write(place, holder.encode())
    time.sleep(SETTLE)
    found = object_store.read(place)
    if found != holder.encode():
        raise refusal(folder, kind, Claimant.parse(found or b""))


def _age(place: Address) -> float:
    """Seconds since an object was written, by the store's clock: the age it has beside one written now."""
    clock = Address(place.scheme, place.bucket, f"{place.key}-{os.getpid()}", place.options)
    object_store.write(clock, b"x")
    now, then = object_store.modified(clock), object_store.modified(place)
    object_store.delete(clock)
    return TERM if now is None or then is None else (now - then) / 1e9
