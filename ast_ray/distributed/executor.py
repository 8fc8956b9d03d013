"""Run jobs on Ray: bounded retries for lost workers, none for errors of the job itself."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from ast_ray.distributed.board import BoardSink, forward, open_board
from ast_ray.distributed.session import Capacity
from ast_ray.distributed.slots import ActorSlot, Slot, TaskSlot
from ast_ray.distributed.team_plan import TeamPlan
from ast_ray.distributed.team_slot import TeamSlot
from ast_ray.errors import AstRayError, TaskError, WorkerLostError
from ast_ray.stages.executor import Job, needs_of, raise_failures
from ast_ray.telemetry.progress import ProgressSink

J = TypeVar("J", bound=Job)
R = TypeVar("R")
_LOST = (RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError, LocalRayletDiedError)


class RayExecutor:
    """Spreads jobs over the slots of a Ray cluster; use inside `ray_session`."""

    def __init__(
        self,
        capacity: Capacity,
        sink: ProgressSink,
        *,
        max_attempts: int = 3,
        teams: Literal["actors", "train"] = "actors",
    ) -> None:
        self._capacity, self._sink, self._max_attempts, self._teams = capacity, sink, max_attempts, teams

    def run(
        self, function: Callable[[J, ProgressSink], R], jobs: Sequence[J], *, long_lived: bool = True
    ) -> Iterator[R]:
        """See `stages.executor.Executor.run`; a lost worker's job is started again up to ``max_attempts`` times."""
        if not jobs:
            return
        board = open_board()
        slots = [self._slot(jobs, long_lived=long_lived) for _ in range(min(self._capacity.slots, len(jobs)))]
        try:
            yield from _Round(function, jobs, slots, BoardSink(board), self._max_attempts, self._sink).results(board)
        finally:
            for slot in slots:
                slot.close()
            ray.kill(board)

    def _slot(self, jobs: Sequence[Any], *, long_lived: bool) -> Slot:
        members = max(needs_of(job).members for job in jobs)
        if members > 1:
            return TeamSlot(TeamPlan(members, self._capacity.cpus, self._capacity.gpus), self._teams)
        return (ActorSlot if long_lived else TaskSlot)(self._capacity)


class _Round:
    """One call of `RayExecutor.run`: the queue, what is in flight, what failed."""

    def __init__(
        self,
        function: Callable[..., Any],
        jobs: Sequence[Any],
        slots: Sequence[Slot],
        board_sink: BoardSink,
        max_attempts: int,
        sink: ProgressSink,
    ) -> None:
        self._function, self._board_sink, self._max_attempts, self._sink = function, board_sink, max_attempts, sink
        self._waiting, self._total = deque(jobs), len(jobs)
        self._idle: list[Slot] = list(slots)
        self._running: dict[ray.ObjectRef[Any], tuple[Slot, Any]] = {}
        self._attempts: Counter[str] = Counter()
        self._failures: list[tuple[str, Exception]] = []

    def results(self, board: Any) -> Iterator[Any]:
        """Yield results as jobs finish; raise the failures at the end."""
        while self._waiting or self._running:
            while self._idle and self._waiting:
                self._start(self._idle.pop(), self._waiting.popleft())
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=0.25)
            forward(board, self._sink)
            for reference in done:
                slot, job = self._running.pop(reference)
                try:
                    result = ray.get(reference)
                except _LOST as error:
                    slot.renew()
                    self._lost(job, error)
                except RayTaskError as error:
                    if isinstance(error.cause, WorkerLostError):  # of a team; the slot's own worker waits for the next
                        self._lost(job, error.cause)
                    else:
                        self._failed(job, error)
                else:
                    yield result
                self._idle.append(slot)
        forward(board, self._sink)
        raise_failures(self._failures, self._total)

    def _start(self, slot: Slot, job: Any) -> None:
        self._attempts[job.key] += 1
        self._running[slot.start(self._function, job, self._board_sink)] = (slot, job)

    def _lost(self, job: Any, error: Exception) -> None:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if self._attempts[job.key] < self._max_attempts:
            self._sink.say(f"{job.key}: its worker was lost ({reason}); starting it again")
            self._waiting.append(job)
            return
        text = f"{job.key}: its worker was lost {self._max_attempts} times, the last time by {reason}"
        self._failures.append((job.key, TaskError(text)))

    def _failed(self, job: Any, error: RayTaskError) -> None:
        cause = error.cause
        self._failures.append((job.key, cause if isinstance(cause, AstRayError) else error))
