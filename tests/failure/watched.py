"""Stages whose work is counted, and that can be held at a moment for a test to kill something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from ast_ray.core.experts.training import EpochRecord
from ast_ray.stages.experts import train as experts
from ast_ray.telemetry.progress import ProgressSink, Update
from tests.failure.notes import Notes


@dataclass(frozen=True)
class WatchedExpert:
    """`train_experts` noting every epoch it trains, held when epoch ``at`` is trained and not kept yet."""

    notes: Notes
    at: int

    def __call__(self, job: experts.ExpertJob, sink: ProgressSink) -> str:
        real = experts.train_expert

        def watched(*args: Any, **options: Any) -> Iterator[EpochRecord]:
            for record in real(*args, **options):
                self.notes.add(job.key, record.epoch)
                if record.epoch == self.at:
                    self.notes.hold(job.key)
                yield record

        with mock.patch.object(experts, "train_expert", watched):
            return experts.train_experts(job, sink)


@dataclass(frozen=True)
class WatchedUpdates:
    """Any stage, noting what it tells as done, held when it tells ``at``."""

    function: Callable[[Any, ProgressSink], Any]
    notes: Notes
    at: int

    def __call__(self, job: Any, sink: ProgressSink) -> Any:
        return self.function(job, _Noting(sink, self.notes, self.at))


@dataclass(frozen=True)
class _Noting:
    sink: ProgressSink
    notes: Notes
    at: int

    def update(self, update: Update) -> None:
        self.notes.add(update.key, update.done)
        if update.done == self.at:
            self.notes.hold(update.key)
        self.sink.update(update)

    def say(self, message: str) -> None:
        self.sink.say(message)
