from __future__ import annotations

from dataclasses import dataclass

import pytest

from ast_ray.errors import AstRayError, DivergenceError, StoreError
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
    assert caught.value.__notes__ == ["2 of 5 jobs failed; first: task 1. What finished is kept."]


def test_the_same_command_is_advised_unless_something_diverged() -> None:
    with pytest.raises(StoreError) as caught:
        list(SerialExecutor(Recorder()).run(work, [Task(0), Task(3)]))
    assert caught.value.__notes__[0].endswith("What finished is kept; run the same command again.")


def test_whoever_takes_the_failures_hears_of_each_when_it_happens_and_nothing_is_raised() -> None:
    sink = Recorder()

    def failed(task: Task, error: AstRayError) -> None:
        sink.say(f"{task.key} failed: {error}")

    assert list(SerialExecutor(sink).run(work, [Task(number) for number in range(4)], failed=failed)) == [0, 2]
    assert sink.messages[1:3] == ["task 1", "task 1 failed: task 1 diverged"]
    assert sink.messages[-1] == "task 3 failed: damaged"


def test_what_the_taker_raises_ends_the_round_at_once() -> None:
    sink = Recorder()

    def failed(task: Task, error: AstRayError) -> None:
        raise error

    with pytest.raises(DivergenceError):
        list(SerialExecutor(sink).run(work, [Task(number) for number in range(4)], failed=failed))
    assert sink.messages == ["task 0", "task 1"]


def test_results_come_as_they_finish() -> None:
    running = SerialExecutor(Recorder()).run(work, [Task(0), Task(1)])
    assert next(iter(running)) == 0


def test_a_bug_stops_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        list(SerialExecutor(Recorder()).run(bug, [Task(0), Task(1)]))


def test_no_failures_no_error() -> None:
    raise_failures([], 3)
