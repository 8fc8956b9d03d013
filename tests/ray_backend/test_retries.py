from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

from ast_ray.errors import TaskError
from ast_ray.ray_backend import executor as module
from ast_ray.ray_backend.executor import _Round
from ast_ray.ray_backend.retries import NODE_LOSSES, RetryPolicy, for_memory, reason, with_node
from tests.ray_backend.test_executor import Task
from tests.recorder import Recorder

CRASH = WorkerCrashedError()
NODE = RayActorError(error_msg="The actor died unexpectedly.\nThe actor died because its node has died. Node Id: 0123")
PREEMPTED = RayActorError(error_msg="gone", preempted=True)
MEMORY = OutOfMemoryError("Task was killed due to the node running low on memory.")


@pytest.mark.parametrize(
    ("error", "node", "memory", "text"),
    [
        (CRASH, False, False, "WorkerCrashedError"),
        (ActorDiedError(), False, False, "ActorDiedError"),
        (NODE, True, False, "its machine was lost"),
        (PREEMPTED, True, False, "its machine was lost"),
        (NodeDiedError("x"), True, False, "its machine was lost"),
        (MEMORY, False, True, "ran out of memory"),
    ],
)
def test_whose_fault_it_was(error: Exception, node: bool, memory: bool, text: str) -> None:
    assert (with_node(error), for_memory(error)) == (node, memory)
    assert text in reason(error)


def test_a_lost_machine_costs_no_attempt_but_is_bounded() -> None:
    losses = RetryPolicy(max_attempts=2)
    assert all(losses.should_retry("a", NODE) for _ in range(NODE_LOSSES))
    assert losses.should_retry("a", CRASH)
    assert losses.should_retry("b", CRASH), "every job has its own count"
    assert not losses.should_retry("b", CRASH)
    assert not losses.should_retry("a", NODE)
    assert str(losses.failure_message("a", NODE)).startswith(f"a: its worker was lost {NODE_LOSSES + 2} times")


class Slots:
    """Slots without Ray: what a job comes to is looked up when it is asked for."""

    def __init__(self, count: int, outcomes: Callable[[Task, int], Any]) -> None:
        self.outcomes, self.in_flight, self.most, self.attempts = outcomes, 0, 0, 0
        self.slots = [_Slot(self) for _ in range(count)]


class _Slot:
    def __init__(self, owner: Slots) -> None:
        self.owner, self.closed = owner, 0

    def start(self, function: Any, job: Task, sink: Any) -> Any:
        self.owner.in_flight += 1
        self.owner.most = max(self.owner.most, self.owner.in_flight)
        self.owner.attempts += 1
        return (job, self.owner.attempts)

    def renew(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


class Ray:
    """``ray.wait`` and ``ray.get`` for `Slots`."""

    ObjectRef = object

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1] if timeout else [], references[1:]

    def get(self, reference: Any) -> Any:
        job, _ = reference
        outcome = self.slots.outcomes(job, self.slots.in_flight)
        self.slots.in_flight -= 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def run(slots: Slots, jobs: list[Task], monkeypatch: pytest.MonkeyPatch, max_attempts: int = 3) -> tuple[Any, Recorder]:
    sink = Recorder()
    monkeypatch.setattr(module, "ray", Ray(slots))
    monkeypatch.setattr(module, "forward", lambda board, to: None)
    return _Round(lambda: None, jobs, slots.slots, object(), max_attempts, sink).results(), sink


def test_what_does_not_fit_in_memory_together_is_done_with_fewer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(4, lambda job, at_once: MEMORY if at_once > 2 else job.number)
    results, sink = run(slots, [Task(number) for number in range(12)], monkeypatch)
    assert sorted(results) == list(range(12))
    assert slots.most == 4
    assert len(sink.messages) == slots.attempts - 12 == 2
    assert all("ran out of memory" in message and "one fewer at once" in message for message in sink.messages)


def test_a_job_too_large_for_the_machine_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(2, lambda job, _: MEMORY if job.number == 1 else job.number)
    results, _ = run(slots, [Task(number) for number in range(3)], monkeypatch)
    found = []
    with pytest.raises(TaskError, match=r"task 1: its worker was lost 3 times.*ran out of memory; .*compute\.workers"):
        found.extend(results)
    assert sorted(found) == [0, 2]


def test_idle_slots_give_their_resources_back_while_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(3, lambda job, _: job.number)
    results, _ = run(slots, [Task(number) for number in range(3)], monkeypatch)
    next(results)
    next(results)
    assert sum(slot.closed > 0 for slot in slots.slots) >= 1
    assert len(list(results)) == 1
