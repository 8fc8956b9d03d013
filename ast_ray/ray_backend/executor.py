"""Run jobs on Ray: bounded retries for lost workers, none for errors of the job itself."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayTaskError

from ast_ray.errors import AstRayError, WorkerLostError
from ast_ray.ray_backend.progress import BoardSink, forward, open_board
from ast_ray.ray_backend.retries import LOST, RetryPolicy, for_memory, reason
from ast_ray.ray_backend.session import Capacity
from ast_ray.ray_backend.workers import ActorSlot, Slot, TaskSlot
from ast_ray.stages.executor import Failed, Following, Job, nothing, raise_failures, resources_of
from ast_ray.telemetry.progress import ProgressSink

J = TypeVar("J", bound=Job)
R = TypeVar("R")
_LOOK = 0.25  # seconds between two looks at the board


class RayExecutor:
    """Spreads jobs over the slots of a Ray cluster; use inside `ray_session`."""

    def __init__(self, capacity: Capacity, sink: ProgressSink, *, max_attempts: int = 3) -> None:
        self._capacity = capacity
        self._sink = sink
        self._max_attempts = max_attempts

    def run(
        self,
        function: Callable[[J, ProgressSink], R],
        jobs: Sequence[J],
        *,
        long_lived: bool = True,
        following: Following[R, J] = nothing,
        failed: Failed[J] | None = None,
    ) -> Iterator[R]:
        """See `stages.executor.Executor.run`; a lost worker's job is started again (see `retries.RetryPolicy`)."""
        if not jobs:
            return
        board = open_board()
        kind = ActorSlot if long_lived else TaskSlot
        room = self._capacity.room(resources_of(job) for job in jobs)  # a slot that is not used costs nothing
        slots: list[Slot] = [kind(self._capacity) for _ in range(room)]
        try:
            work = _Round(function, jobs, slots, board, self._max_attempts, self._sink, following, failed)
            yield from work.results()
        finally:
            for slot in slots:
                slot.close()
            ray.kill(board)


class _Round:
    """One call of `RayExecutor.run`: the queue, what is in flight, what failed."""

    def __init__(
        self,
        function: Callable[..., Any],
        jobs: Sequence[Any],
        slots: Sequence[Slot],
        board: Any,
        max_attempts: int,
        sink: ProgressSink,
        following: Following[Any, Any] = nothing,
        failed: Failed[Any] | None = None,
    ) -> None:
        self._function = function
        self._following = following
        self._failed = failed
        self._board, self._sink = board, sink
        self._board_sink, self._looked = BoardSink(board), time.monotonic()
        self._waiting, self._total = deque(jobs), len(jobs)
        self._idle: list[Slot] = list(slots)
        self._running: dict[ray.ObjectRef[Any], tuple[Slot, Any]] = {}
        self._retries = RetryPolicy(max_attempts)
        self._failures: list[tuple[str, Exception]] = []

    def results(self) -> Iterator[Any]:
        """Yield results as jobs finish; raise the failures at the end."""
        while self._waiting or self._running:
            self._start_what_fits()
            for reference in self._finished():
                yield from self._take(reference)
            if time.monotonic() - self._looked > _LOOK:
                self._forward()
        self._forward()
        raise_failures(self._failures, self._total)

    def _start_what_fits(self) -> None:
        while self._idle and self._waiting:
            slot, job = self._idle.pop(), self._waiting.popleft()
            self._running[slot.start(self._function, job, self._board_sink)] = (slot, job)
        for slot in self._idle:  # nothing left for them: a job whose machine was lost may be waiting for their place
            slot.close()

    def _finished(self) -> list[ray.ObjectRef[Any]]:
        """Wait a moment and return everything that has finished, since each look costs as much as is in flight."""
        running = list(self._running)
        done, rest = ray.wait(running, num_returns=1, timeout=_LOOK)
        if done and rest:
            done += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return done

    def _take(self, reference: ray.ObjectRef[Any]) -> Iterator[Any]:
        slot, job = self._running.pop(reference)
        try:
            result = ray.get(reference)
        except LOST as error:
            self._lost(slot, job, error)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, WorkerLostError):  # of a team that shared the job
                self._lost(slot, job, cause)
                return
            self._idle.append(slot)
            self._fail(job, cause if isinstance(cause, AstRayError) else error)
        else:
            self._idle.append(slot)
            possible = list(self._following(result))
            self._waiting.extendleft(reversed(possible))
            self._total += len(possible)
            yield result

    def _lost(self, slot: Slot, job: Any, error: Exception) -> None:
        """Queue the job again, or give it up; without memory for all at once, go on with one slot fewer."""
        slot.renew()
        fewer = for_memory(error) and bool(self._idle or self._running)
        if not fewer:
            self._idle.append(slot)
        if not self._retries.should_retry(job.key, error):
            self._fail(job, self._retries.failure_message(job.key, error))
            return
        rest = ", one fewer at once" if fewer else ""
        self._sink.say(f"{job.key}: its worker was lost ({reason(error)}); starting it again{rest}")
        self._waiting.append(job)

    def _fail(self, job: Any, error: Exception) -> None:
        """Tell of a job that failed for good; a bug is raised once the others are through."""
        if self._failed is None or not isinstance(error, AstRayError):
            self._failures.append((job.key, error))
            return
        self._forward()  # what the job said comes before its end
        self._failed(job, error)

    def _forward(self) -> None:
        forward(self._board, self._sink)
        self._looked = time.monotonic()
