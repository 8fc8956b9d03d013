"""What Ray raises when a worker is gone, as opposed to work that failed."""

from __future__ import annotations

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from ast_ray.errors import WorkerLostError

LOST = (RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError, LocalRayletDiedError)


def is_loss(error: Exception) -> bool:
    """Whether a worker was lost: this one, or one of a team it shares its job with."""
    return isinstance(error, LOST) or (isinstance(error, RayTaskError) and isinstance(error.cause, WorkerLostError))


def reason(error: Exception) -> str:
    """One line about an error."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0]}"
