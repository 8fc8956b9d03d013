"""Start Ray here, or join a running cluster, and say what it offers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ast_ray.config.settings import ComputeConfig
from ast_ray.errors import ConfigError, Problem, ResourceError

_STORE_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Capacity:
    """What one task takes and how many run at once."""

    cpus: float
    gpus: float
    slots: int


def prepare_import(address: str) -> None:
    """Choose token authentication for a private Ray; the variable is read once, when ray is imported."""
    if not address and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def ray_session(compute: ComputeConfig) -> Iterator[Capacity]:
    """Connect to Ray for the length of the block and yield the capacity for tasks.

    An empty address starts a private Ray on this machine and stops it afterwards; any other joins a cluster, which
    stays. Authentication is left as it is on clusters; a private Ray uses a token.

    Raises:
        ResourceError: the cluster cannot be reached, or lacks what one task asks for.
    """
    prepare_import(compute.address)
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        _connect(compute)
    try:
        yield capacity(compute, ray.cluster_resources())
    finally:
        if started_here:
            ray.shutdown()


def _connect(compute: ComputeConfig) -> None:
    import ray

    if not compute.address:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_STORE_BYTES,
        )
        return
    try:
        ray.init(address=compute.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ResourceError(
            f"compute.address = {compute.address!r}: no Ray cluster answered ({str(error).splitlines()[0]}); "
            "check the address, and that RAY_AUTH_MODE is the same here and there"
        ) from error


def capacity(compute: ComputeConfig, resources: dict[str, float]) -> Capacity:
    """Work out how many tasks fit; a cluster with GPUs gives each task one unless told otherwise.

    Raises:
        ResourceError: one task asks for more than the whole cluster has.
    """
    gpus = compute.gpus_per_task
    if gpus == 0 and compute.device != "cpu" and resources.get("GPU", 0) > 0:
        gpus = 1.0
    if compute.device == "cuda" and resources.get("GPU", 0) == 0:
        raise ResourceError("compute.device = 'cuda': the Ray cluster has no GPU; use 'cpu' or 'auto'")
    problems = [
        Problem(f"compute.{name}", wanted, f"the cluster has {resources.get(kind, 0):g} {kind}")
        for name, kind, wanted in (("cpus_per_task", "CPU", compute.cpus_per_task), ("gpus_per_task", "GPU", gpus))
        if wanted > resources.get(kind, 0)
    ]
    if problems:
        raise ConfigError(problems)
    fitting = int(resources["CPU"] / compute.cpus_per_task)
    if gpus:
        fitting = min(fitting, int(resources["GPU"] / gpus))
    return Capacity(compute.cpus_per_task, gpus, min(fitting, compute.workers or fitting))
