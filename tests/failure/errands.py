"""Jobs without work. No torch: workers import it quickly."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ast_ray.stages.executor import Resources
from ast_ray.telemetry.progress import ProgressSink, Update
from tests.failure.notes import Notes, until


@dataclass(frozen=True)
class Errand:
    """Job ``number`` of ``count``."""

    number: int
    count: int
    notes: Notes

    @property
    def key(self) -> str:
        return f"errand {self.number}"


def slow_first(errand: Errand, _: ProgressSink) -> int:
    """The first one is done only when all others are."""
    if errand.number == 0:
        others = range(1, errand.count)
        until(lambda: all(errand.notes.path(f"errand {number}", "done").exists() for number in others))
    errand.notes.add(errand.key, 1)
    return errand.number


def talks(errand: Errand, sink: ProgressSink) -> int:
    sink.say("before")
    errand.notes.hold(errand.key)
    sink.update(Update(errand.key, 1, 1))
    sink.say("after")
    return errand.number


@dataclass(frozen=True)
class Small:
    """A job that says how much memory it takes and waits until others are there."""

    number: int
    gpu_memory: int
    folder: str

    @property
    def key(self) -> str:
        return f"small {self.number}"

    @property
    def needs(self) -> Resources:
        return Resources(gpu_memory=self.gpu_memory)


def most_at_once(job: Small, _: object) -> int:
    """How many were running while this one did."""
    mine, most = Path(job.folder) / str(job.number), 0
    mine.touch()
    for _ in range(20):
        most = max(most, len(list(Path(job.folder).iterdir())))
        time.sleep(0.1)
    mine.unlink()
    return most
