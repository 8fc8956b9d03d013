"""A slot runs one job at a time: on an actor that stays (experts, distillation) or as a task (evaluation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

import ray

from ast_ray.ray_backend.session import Capacity
from ast_ray.ray_backend.team import free, shared_work
from ast_ray.stages.executor import resources_of


class Slot(Protocol):
    """Somewhere a job can run."""

    def start(self, function: Callable[..., Any], job: Any, sink: Any) -> ray.ObjectRef[Any]:
        """Start the job and return a reference to its result."""

    def renew(self) -> None:
        """Replace what was lost."""

    def close(self) -> None:
        """Give the resources back; the slot can be used again."""


def strategy(capacity: Capacity) -> str:
    """Ray's name for how workers are placed: near one another until a machine is full, or over all machines."""
    return "SPREAD" if capacity.placement == "spread" else "DEFAULT"


class Worker:
    """Holds the imports, the real images and a device from job to job."""

    def run(self, function: Callable[..., Any], job: Any, sink: Any) -> Any:
        """Call a stage."""
        return function(job, sink)


# Retries are the driver's: counted, bounded and reported.
_RemoteWorker: Any = ray.remote(max_restarts=0, max_task_retries=0)(Worker)


class ActorSlot:
    """A long-lived worker process, made when a job needs one and replaced by one of another size when a job needs that.

    A job for several members gets a worker without resources, which waits for a team of them.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._size = (0.0, 0.0)
        self._worker: Any = None
        self._leader = ""  # the name of a worker that waits for a team

    def start(self, function: Callable[..., Any], job: Any, sink: Any) -> ray.ObjectRef[Any]:
        """See `Slot.start`; a job's function for several members takes the team as its third argument."""
        needs = resources_of(job)
        shared = needs.members > 1
        size = (0.0, 0.0) if shared else (self._capacity.cpus, self._capacity.gpus_for(needs))
        if self._worker is not None and size != self._size:
            self.close()
        if self._worker is None:
            options = {"num_cpus": size[0], "num_gpus": size[1], "scheduling_strategy": strategy(self._capacity)}
            self._worker, self._size = _RemoteWorker.options(**options).remote(), size
            self._leader = f"team-{uuid4().hex}" if shared else ""
        work = shared_work(function, needs.members, self._capacity, self._leader) if shared else function
        reference: ray.ObjectRef[Any] = self._worker.run.remote(work, job, sink)
        return reference

    def renew(self) -> None:
        """The next job gets a fresh worker."""
        self.close()

    def close(self) -> None:
        """End the worker, and give back the room of a team that it may have left."""
        if self._worker is None:
            return
        ray.kill(self._worker)
        self._worker = None
        if self._leader:
            free(self._leader)


@ray.remote(max_retries=0)
def call(function: Callable[..., Any], job: Any, sink: Any) -> Any:
    """Call a stage as a task."""
    return function(job, sink)


class TaskSlot:
    """One task at a time; Ray finds a process for each."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity

    def start(self, function: Callable[..., Any], job: Any, sink: Any) -> ray.ObjectRef[Any]:
        """See `Slot.start`."""
        task = call.options(
            num_cpus=self._capacity.cpus,
            num_gpus=self._capacity.gpus_for(resources_of(job)),
            scheduling_strategy=strategy(self._capacity),
        )
        return task.remote(function, job, sink)

    def renew(self) -> None:
        """Nothing to replace."""

    def close(self) -> None:
        """Nothing to give back."""
