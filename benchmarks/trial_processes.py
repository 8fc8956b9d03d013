"""Which processes belong to one trial of `kill_and_resume`: watched while they run, counted and ended afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_VARIABLE = "AST_RAY_TRIAL"
_LOOK = 0.2  # seconds
_WORKERS = ("ray::Worker", "ray::call")  # actors and tasks that run stages (ray_backend/workers.py)


def mark(folder: Path) -> dict[str, str]:
    """The variable by which everything started for this trial is known."""
    return {_VARIABLE: str(folder)}


@dataclass(frozen=True)
class Process:
    """A process; number and time of start together are never used again."""

    pid: int
    begun: str
    parent: int
    session: int
    zombie: bool


def processes() -> Iterator[Process]:
    """Everything that runs on this machine."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            fields = path.read_text("utf-8", "replace").rpartition(")")[2].split()
            yield Process(int(path.parent.name), fields[19], int(fields[1]), int(fields[3]), fields[0] == "Z")


def _read(pid: int, name: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


class Processes:
    """Whatever a driver started, and itself: known by mark, session, or an ancestor that was seen."""

    def __init__(self, driver: int, folder: Path) -> None:
        self._driver, self._mark = driver, f"{_VARIABLE}={folder}".encode()
        self._known: dict[tuple[int, str], Process] = {}
        self._strangers: set[tuple[int, str]] = {(one.pid, one.begun) for one in processes() if one.pid != driver}
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.end()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK):
            self.now()

    def now(self) -> Mapping[tuple[int, str], Process]:
        """What of the trial runs at the moment."""
        with self._lock:
            running = {(one.pid, one.begun): one for one in processes() if not one.zombie}
            ours = {key: one for key, one in running.items() if key in self._known or self._marked(one)}
            while True:  # those below, also where a process has hidden its environment
                pids = {one.pid for one in ours.values()}
                below = {k: o for k, o in running.items() if o.parent in pids and k not in ours}
                if not below:
                    break
                ours |= below
            self._known |= ours
            return ours

    def _marked(self, one: Process) -> bool:
        if (one.pid, one.begun) in self._strangers:
            return False
        if one.session == self._driver or one.pid == self._driver:
            return True
        return self._mark in _read(one.pid, "environ").split(b"\0")

    def strike_worker(self, number: signal.Signals) -> bool:
        """Send a signal to a process in which a stage runs; false when there is none."""
        workers = [one.pid for one in self.now().values() if _read(one.pid, "cmdline").decode().startswith(_WORKERS)]
        for pid in sorted(workers, reverse=True):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        return False

    def left(self, seconds: float) -> list[str]:
        """Wait until nothing of the trial runs, at most so long; return what still does."""
        give_up = time.monotonic() + seconds
        while (found := self.now()) and time.monotonic() < give_up:
            time.sleep(_LOOK / 4)
        return [
            _read(one.pid, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()[:160]
            for one in found.values()
        ]

    def end(self) -> None:
        """End what is left of the trial."""
        for one in self.now().values():
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
