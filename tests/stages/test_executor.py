from __future__ import annotations

from dataclasses import dataclass

import pytest

from ast_ray.errors import DivergenceError, StoreError
from ast_ray.stages.executor import SerialExecutor, raise_failures
from ast_ray.telemetry.progress import ProgressSink
from tests.tiny import Recorder


@dataclass(frozen=True)
class Task:
    number: int

    @property
    def key(self) -> str:
        return f"task {self.number}"


def work(task: Task, sink: ProgressSink) -> int:
    sink.say(task.key)
    if task.number % 2:
        raise DivergenceError(f"task {task.number} diverged") if task.number == 1 else StoreError("damaged")
    return task.number


def bug(task: Task, sink: ProgressSink) -> int:
    raise ZeroDivisionError


def test_every_job_that_can_finish_does_before_the_first_error_is_raised() -> None:
    sink, results = Recorder(), []
    running = SerialExecutor(sink).run(work, [Task(number) for number in range(5)])
    with pytest.raises(DivergenceError, match="task 1 diverged") as caught:
        results.extend(running)
    assert results == [0, 2, 4]
    assert sink.messages == [f"task {number}" for number in range(5)]
    assert caught.value.exit_code == 3
    assert "2 of 5 jobs failed; first: task 1" in caught.value.__notes__[0]


def test_results_come_as_they_finish() -> None:
    running = SerialExecutor(Recorder()).run(work, [Task(0), Task(1)])
    assert next(iter(running)) == 0


def test_a_bug_stops_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        list(SerialExecutor(Recorder()).run(bug, [Task(0), Task(1)]))


def test_no_failures_no_error() -> None:
    raise_failures([], 3)
