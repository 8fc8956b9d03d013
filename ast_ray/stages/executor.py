"""Executors: the interface behind which jobs run somewhere, and the executor of one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from ast_ray.errors import AstRayError, DivergenceError, counted
from ast_ray.telemetry.progress import ProgressSink


class Job(Protocol):
    """A picklable description of one unit of work."""

    @property
    def key(self) -> str:
        """A name that is unique in its stage."""


@dataclass(frozen=True)
class Resources:
    """The resources that a job asks for.

    ``members`` processes that share it, and ``gpu_memory``, an estimate of the bytes it takes on a GPU: 0 = not known,
    or so much that it wants a GPU of its own.
    """

    members: int = 1
    gpu_memory: int = 0


@runtime_checkable
class HasResources(Job, Protocol):
    """A job that says what it needs."""

    @property
    def needs(self) -> Resources:
        """The resources that it asks for."""


def resources_of(job: Job) -> Resources:
    """Return the resources that a job asks for: one worker, unless it says otherwise."""
    return job.needs if isinstance(job, HasResources) else Resources()


J = TypeVar("J", bound=Job)
R = TypeVar("R")


Following: TypeAlias = Callable[[R], Iterable[J]]
Failed: TypeAlias = Callable[[J, AstRayError], None]


def nothing(_result: object) -> tuple[()]:
    """No result makes further jobs possible."""
    return ()


class Executor(Protocol):
    """Runs jobs and yields their results as they finish."""

    def run(
        self,
        function: Callable[[J, ProgressSink], R],
        jobs: Sequence[J],
        *,
        long_lived: bool = True,
        following: Following[R, J] = nothing,
        failed: Failed[J] | None = None,
    ) -> Iterator[R]:
        """Run ``function(job, sink)`` for each job.

        ``long_lived`` jobs go to actors that stay; others are short independent tasks. ``following`` names the jobs
        that a result makes possible; they go before those that wait. ``failed`` is told of a job that failed for good
        at the moment it does, and the others go on; what it raises ends the round at once. Without it every job that
        can finish does before an error is raised.

        Raises:
            AstRayError: of a job, once the others are through; only without ``failed``.
        """


def raise_failures(failures: Sequence[tuple[str, Exception]], total: int) -> None:
    """Raise the first failure, naming how many jobs failed; nothing when there is none.

    What diverged would diverge again, so the same command is advised only where nothing did.
    """
    if not failures:
        return
    key, error = failures[0]
    note = f"{len(failures)} of {counted(total, 'job')} failed; first: {key}. What finished is kept"
    again = not any(isinstance(one, DivergenceError) for _, one in failures)
    error.add_note(f"{note}; run the same command again." if again else f"{note}.")
    raise error


class SerialExecutor:
    """One job after the other in this process."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink

    def run(
        self,
        function: Callable[[J, ProgressSink], R],
        jobs: Sequence[J],
        *,
        long_lived: bool = True,
        following: Following[R, J] = nothing,
        failed: Failed[J] | None = None,
    ) -> Iterator[R]:
        """See `Executor.run`."""
        failures: list[tuple[str, AstRayError]] = []
        waiting, total = deque(jobs), len(jobs)
        while waiting:
            job = waiting.popleft()
            try:
                result = function(job, self._sink)
            except AstRayError as error:
                if failed is None:
                    failures.append((job.key, error))
                else:
                    failed(job, error)
                continue
            possible = list(following(result))
            waiting.extendleft(reversed(possible))
            total += len(possible)
            yield result
        raise_failures(failures, total)
