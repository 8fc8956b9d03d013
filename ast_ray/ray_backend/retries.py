"""Retry policy for lost workers: classify the failure, count attempts, build the error message."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from ast_ray.errors import TaskError, WorkerLostError, counted

LOST = (RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError, LocalRayletDiedError)
NODE_LOSSES = 20
_NODE_WORDS = ("node has died", "node died", "node was terminated", "node is dead")
_MEMORY_HINT = (
    "run fewer at once (compute.workers, or a larger compute.cpus_per_task), or make one smaller (expert.batch_size, "
    "distill.batch_size, evaluate.batch_size, network.width; data.placement = stream)"
)


def with_node(error: Exception) -> bool:
    """Return whether the whole machine was lost, which is not the job's doing."""
    if isinstance(error, NodeDiedError | LocalRayletDiedError):
        return True
    if isinstance(error, WorkerLostError):
        return error.with_node
    text = str(error)
    return isinstance(error, RayActorError) and (error.preempted or any(word in text for word in _NODE_WORDS))


def for_memory(error: Exception) -> bool:
    """Return whether Ray killed the worker because its machine was running out of memory."""
    return isinstance(error, OutOfMemoryError)


def reason(error: Exception) -> str:
    """One line."""
    if isinstance(error, WorkerLostError):
        return str(error)
    if for_memory(error):
        return "its machine ran out of memory"
    if with_node(error):
        return "its machine was lost"
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"


@dataclass
class RetryPolicy:
    """Counts the attempts of every job of a round.

    A job has ``max_attempts`` attempts; one that ended with its machine is not counted, up to `NODE_LOSSES` times, so
    that a job which brings machines down does not go through the whole cluster.
    """

    max_attempts: int
    _own: Counter[str] = field(default_factory=Counter)
    _nodes: Counter[str] = field(default_factory=Counter)

    def should_retry(self, key: str, error: Exception) -> bool:
        """Count a loss; return whether the job is to be started again."""
        if with_node(error):
            self._nodes[key] += 1
            return self._nodes[key] <= NODE_LOSSES
        self._own[key] += 1
        return self._own[key] < self.max_attempts

    def failure_message(self, key: str, error: Exception) -> TaskError:
        """Return the error of a job that is not started again."""
        count = self._own[key] + self._nodes[key]
        what = f"its worker was lost {counted(count, 'time')}, the last time by {reason(error)}"
        if for_memory(error):
            return TaskError(f"{key}: {what}; {_MEMORY_HINT}", reason=what, advice=_MEMORY_HINT)
        return TaskError(f"{key}: {what}", reason=what, advice="the same command goes on from what is kept")
