from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ast_ray.errors import AstRayError, ConfigError, DivergenceError, Problem, TaskError
from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.telemetry.progress import ProgressSink, Update
from tests.recorder import Recorder

pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Task:
    """Number ``number`` with a folder to leave traces in."""

    number: int
    folder: str = ""

    @property
    def key(self) -> str:
        return f"task {self.number}"


def square(task: Task, sink: ProgressSink) -> int:
    sink.update(Update(task.key, 1, 1, "done"))
    sink.say(f"{task.key} speaks")
    return task.number**2


def where(task: Task, _: ProgressSink) -> int:
    time.sleep(0.3)
    return os.getpid()


def fails(task: Task, _: ProgressSink) -> int:
    if task.number == 1:
        raise DivergenceError("task 1 diverged", reason="too steep", advice="lower it", iteration=7)
    if task.number == 2:
        raise ConfigError([Problem("a", 1, "no"), Problem("b", 2, "no")])
    return task.number


def breaks(task: Task, _: ProgressSink) -> int:
    raise ZeroDivisionError("a bug")


def dies(task: Task, _: ProgressSink) -> int:
    """Die on the first attempt (task 0) or on every attempt (task 1)."""
    attempts = Path(task.folder) / f"attempts-{task.number}"
    with attempts.open("a") as file:
        file.write("x")
    if task.number == 1 or (task.number == 0 and attempts.stat().st_size == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return task.number


@pytest.mark.parametrize("long_lived", [True, False])
def test_every_job_once_with_progress_and_messages(two_slots: Capacity, long_lived: bool) -> None:
    sink = Recorder()
    jobs = [Task(number) for number in range(5)]
    assert sorted(RayExecutor(two_slots, sink).run(square, jobs, long_lived=long_lived)) == [0, 1, 4, 9, 16]
    assert sorted(sink.messages) == [f"task {number} speaks" for number in range(5)]


def test_nothing_to_do_starts_nothing() -> None:
    assert list(RayExecutor(Capacity(1, 0, 2), Recorder()).run(square, [])) == []


def test_one_slot_is_one_process_and_two_are_two(two_slots: Capacity) -> None:
    jobs = [Task(number) for number in range(4)]
    assert len(set(RayExecutor(Capacity(1, 0, 1), Recorder()).run(where, jobs))) == 1
    processes = set(RayExecutor(two_slots, Recorder()).run(where, jobs))
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_a_failing_job_does_not_stop_the_others(two_slots: Capacity) -> None:
    results: list[int] = []
    running = RayExecutor(two_slots, Recorder()).run(fails, [Task(number) for number in range(5)], long_lived=False)
    with pytest.raises((DivergenceError, ConfigError)) as caught:
        results.extend(running)
    assert sorted(results) == [0, 3, 4]
    assert "2 of 5 jobs failed" in caught.value.__notes__[0]


def test_errors_keep_their_type_and_content(two_slots: Capacity) -> None:
    with pytest.raises(ConfigError) as caught:
        list(RayExecutor(two_slots, Recorder()).run(fails, [Task(2)], long_lived=False))
    assert [problem.setting for problem in caught.value.problems] == ["a", "b"]
    assert caught.value.exit_code == 2


def test_a_bug_is_not_dressed_up(two_slots: Capacity) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(RayExecutor(two_slots, Recorder()).run(breaks, [Task(0)], long_lived=False))


@pytest.mark.parametrize("long_lived", [True, False])
def test_a_lost_worker_is_replaced_and_one_lost_for_good_is_an_error(
    two_slots: Capacity, tmp_path: Path, long_lived: bool
) -> None:
    sink, results = Recorder(), []
    jobs = [Task(number, str(tmp_path)) for number in range(4)]
    running = RayExecutor(two_slots, sink, max_attempts=2).run(dies, jobs, long_lived=long_lived)
    with pytest.raises(TaskError, match="task 1: its worker was lost 2 times") as caught:
        results.extend(running)
    assert sorted(results) == [0, 2, 3]
    assert "1 of 4 jobs failed" in caught.value.__notes__[0]
    assert {name: (tmp_path / name).stat().st_size for name in ("attempts-0", "attempts-1", "attempts-2")} == {
        "attempts-0": 2,
        "attempts-1": 2,
        "attempts-2": 1,
    }
    assert any("task 0: its worker was lost" in message and "starting it again" in message for message in sink.messages)


def test_whoever_takes_the_failures_hears_of_divergence_and_of_workers_lost_for_good(
    two_slots: Capacity, tmp_path: Path
) -> None:
    taken: dict[str, AstRayError] = {}

    def failed(task: Task, error: AstRayError) -> None:
        taken[task.key] = error

    jobs = [Task(number, str(tmp_path)) for number in range(4)]
    executor = RayExecutor(two_slots, Recorder(), max_attempts=2)
    assert sorted(executor.run(dies, jobs, failed=failed)) == [0, 2, 3]
    assert isinstance(taken["task 1"], TaskError)
    assert taken["task 1"].reason.startswith("its worker was lost 2 times")
    assert taken["task 1"].advice == "the same command goes on from what is kept"
    assert sorted(executor.run(fails, jobs, long_lived=False, failed=failed)) == [0, 3]
    assert isinstance(taken["task 1"], DivergenceError)
    assert (taken["task 1"].reason, taken["task 1"].advice, taken["task 1"].iteration) == ("too steep", "lower it", 7)
    assert isinstance(taken["task 2"], ConfigError)


def test_what_the_taker_raises_ends_the_round_at_once(two_slots: Capacity) -> None:
    def failed(task: Task, error: AstRayError) -> None:
        raise error

    with pytest.raises(DivergenceError) as caught:
        list(RayExecutor(Capacity(1, 0, 1), Recorder()).run(fails, [Task(1), Task(0)], failed=failed))
    assert not hasattr(caught.value, "__notes__")


def test_a_bug_is_raised_whoever_takes_the_failures(two_slots: Capacity) -> None:
    taken: list[str] = []
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(RayExecutor(two_slots, Recorder()).run(breaks, [Task(0)], failed=lambda task, _: taken.append(task.key)))
    assert taken == []
