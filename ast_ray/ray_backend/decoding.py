"""Decode images with as many Ray tasks as the cluster has cores; the driver writes the cache in the images' order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.telemetry.progress import ProgressSink, Silent

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class _Numbered:
    """A job with its place, so that results can be put back in order."""

    place: int
    function: Callable[[Any], Any]
    job: Any

    @property
    def key(self) -> str:
        """A name that is unique in the round."""
        return f"image chunk {self.place}"


def _call(numbered: _Numbered, _sink: ProgressSink) -> tuple[int, Any]:
    return numbered.place, numbered.function(numbered.job)


class RayMapper:
    """A `data.parallel.Mapper` on Ray tasks of one CPU each; use inside `ray_session`.

    Files are read where a task runs: on a cluster they must be at the same path on every machine.
    """

    def __init__(self, *, max_attempts: int = 3) -> None:
        self._max_attempts = max_attempts

    def __call__(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        """Results in the order of the jobs; a lost worker's chunk is decoded again."""
        import ray

        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        executor = RayExecutor(Capacity(1.0, 0.0, cores), Silent(), max_attempts=self._max_attempts)
        numbered = [_Numbered(place, function, job) for place, job in enumerate(jobs)]
        waiting: dict[int, R] = {}
        turn = 0
        for place, result in executor.run(_call, numbered, long_lived=False):
            waiting[place] = result
            while turn in waiting:
                yield waiting.pop(turn)
                turn += 1
