"""A slot runs one job at a time: on an actor that stays (experts, distillation) or as a task (evaluation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import ray

from ast_ray.distributed.session import Capacity


class Slot(Protocol):
    """Somewhere a job can run."""

    def start(self, function: Callable[..., Any], job: Any, sink: Any) -> ray.ObjectRef[Any]:
        """Start the job and return a reference to its result."""

    def renew(self) -> None:
        """Replace what was lost."""

    def close(self) -> None:
        """Give the resources back; the slot can be used again."""


class Worker:
    """Holds the imports, the real images and a device from job to job."""

    def run(self, function: Callable[..., Any], job: Any, sink: Any) -> Any:
        """Call a stage."""
        return function(job, sink)


# Retries are the driver's: counted, bounded and reported.
_RemoteWorker: Any = ray.remote(max_restarts=0, max_task_retries=0)(Worker)


class ActorSlot:
    """A long-lived worker process, made when a job needs one."""

    def __init__(self, capacity: Capacity) -> None:
        self._options = {"num_cpus": capacity.cpus, "num_gpus": capacity.gpus}
        self._worker: Any = None

    def start(self, function: Callable[..., Any], job: Any, sink: Any) -> ray.ObjectRef[Any]:
        """See `Slot.start`."""
        if self._worker is None:
            self._worker = _RemoteWorker.options(**self._options).remote()
        reference: ray.ObjectRef[Any] = self._worker.run.remote(function, job, sink)
        return reference

    def renew(self) -> None:
        """The next job gets a fresh worker."""
        self.close()

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            ray.kill(self._worker)
            self._worker = None


@ray.remote(max_retries=0)
def call(function: Callable[..., Any], job: Any, sink: Any) -> Any:
    """Call a stage as a task."""
    return function(job, sink)


class TaskSlot:
    """One task at a time; Ray finds a process for each."""

    def __init__(self, capacity: Capacity) -> None:
        self._call = call.options(num_cpus=capacity.cpus, num_gpus=capacity.gpus)

    def start(self, function: Callable[..., Any], job: Any, sink: Any) -> ray.ObjectRef[Any]:
        """See `Slot.start`."""
        return self._call.remote(function, job, sink)

    def renew(self) -> None:
        """Nothing to replace."""

    def close(self) -> None:
        """Nothing to give back."""
