"""Notes that the workers of a test and the test itself write for each other. No torch: workers import it quickly."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray


@dataclass(frozen=True)
class Notes:
    """A folder that the workers of a test and the test itself write notes in."""

    folder: str

    def path(self, key: str, kind: str) -> Path:
        return Path(self.folder) / f"{key.replace(' ', '-')}.{kind}"

    def add(self, key: str, unit: int) -> None:
        """Note that a unit of work was done."""
        with self.path(key, "done").open("a", encoding="utf-8") as file:
            file.write(f"{unit}\n")

    def done(self, key: str) -> Counter[int]:
        """How often each unit of a job was done."""
        return Counter(int(line) for line in self.path(key, "done").read_text(encoding="utf-8").split())

    def repeated(self, key: str) -> int:
        """Units of a job that were done more than once, counted as often as that."""
        done = self.done(key)
        return done.total() - len(done)

    def hold(self, key: str) -> None:
        """Stay here, the first time, until the test lets go or kills."""
        if self.path(key, "held").exists():
            return
        self.path(key, "node").write_text(ray.get_runtime_context().get_node_id())
        self.path(key, "held").write_text(str(os.getpid()))
        until(self.path(key, "go").exists)

    def pid(self, key: str) -> int:
        return int(self.path(key, "held").read_text())

    def node(self, key: str) -> str:
        return self.path(key, "node").read_text()

    def wait_held(self, *keys: str) -> None:
        until(lambda: all(self.path(key, "held").exists() and self.path(key, "held").read_text() for key in keys))

    def let_go(self, *keys: str) -> None:
        for key in keys:
            self.path(key, "go").touch()


def until(found: Callable[[], object], seconds: float = 120) -> None:
    """Wait; an error, not a result, when it takes too long."""
    give_up = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < give_up, "nothing happened"
        time.sleep(0.02)
