"""Start Ray here, or join a running cluster, and say what it offers."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ast_ray.config.own_methods import VARIABLE
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.errors import ConfigError, Problem, ResourceError
from ast_ray.ray_backend.private_ray import remove_dead_sessions, session_folder, watched
from ast_ray.ray_backend.reach import require_cluster, require_folder
from ast_ray.signals import keeping, swapped
from ast_ray.stages.executor import Resources

_LOG = logging.getLogger(__name__)
_STORE_BYTES = 200 * 2**20
_USABLE, _MOST_PER_GPU = 0.6, 8  # an estimate may be half as much again as it says
_CONTEXT = 2**30  # what CUDA and torch take per process before the first image, rounded up
_CLUSTERS = "ENABLE_RAY_CLUSTER"


@dataclass(frozen=True)
class Capacity:
    """The resources of one task, the number that run at once, and their placement.

    Jobs that say how much GPU memory they take may share a GPU: of ``gpu_count`` GPUs with ``gpu_memory`` bytes each,
    by at most ``cpu_slots`` workers in all. 0 bytes: not known, every job takes ``gpus``.
    """

    cpus: float
    gpus: float
    slots: int
    gpu_memory: int = 0
    gpu_count: float = 0
    cpu_slots: int = 0
    placement: Literal["pack", "spread"] = "pack"

    def gpus_for(self, needs: Resources) -> float:
        """GPUs of one job: an even share when it says how much memory it takes and several fit, else a whole task's."""
        if not self.gpu_memory or not needs.gpu_memory:
            return self.gpus
        fitting = int(_USABLE * self.gpu_memory / (needs.gpu_memory + _CONTEXT))
        return self.gpus if fitting < 2 else int(1e4 / min(fitting, _MOST_PER_GPU)) / 1e4

    def room(self, needs: Iterable[Resources]) -> int:
        """Return how many jobs are held at once: as many as the smallest of them fit; larger ones wait in Ray."""
        if not self.gpu_memory:
            return self.slots
        smallest = min((self.gpus_for(one) for one in needs), default=self.gpus)
        return max(1, min(self.cpu_slots, int(self.gpu_count / smallest)))


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
    private = started_here and not compute.address
    with watched() if private else nullcontext():
        try:
            if started_here:
                _connect(compute)
            from ast_ray.ray_backend.gpus import gpu_memory

            resources = offered(ray.cluster_resources())
            shareable = compute.gpus_per_task == 0 and compute.device != "cpu" and resources.get("GPU", 0) > 0
            yield capacity(compute, resources, gpu_memory=gpu_memory() if shareable else 0)
        finally:
            if started_here:
                with signals_kept():  # Ray takes away its handler of SIGTERM below Python, and with it Python's own
                    ray.shutdown()


def _connect(compute: ComputeConfig) -> None:
    import ray

    if not compute.address:
        require_folder()
        folder = session_folder()
        if folder is not None:
            remove_dead_sessions(folder)
        try:
            with loopback_only(), signals_kept(), in_a_process_group_of_its_own():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=_STORE_BYTES,
                    _temp_dir=None if folder is None else str(folder),
                )
        except Exception as error:  # Ray raises that class itself where its start takes more than half a minute
            raise ResourceError(
                f"Ray did not start on this machine ({(str(error).splitlines() or [type(error).__name__])[0]}); where "
                "the machine is busy the same command may do later, and compute.backend = 'serial' needs no Ray"
            ) from error
        keep_token_private()
        return
    require_cluster(compute.address)
    try:
        with signals_kept():
            ray.init(
                address=compute.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=_own_methods(),
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ResourceError(
            f"compute.address = {compute.address!r}: no Ray cluster answered ({str(error).splitlines()[0]}); "
            "check the address, and that RAY_AUTH_MODE is the same here and there"
        ) from error


def _own_methods() -> dict[str, Any] | None:
    """Hand a cluster's workers the names of the user's own methods; a private Ray's inherit the environment."""
    modules = os.environ.get(VARIABLE)
    return {"env_vars": {VARIABLE: modules}} if modules else None


@contextmanager
def loopback_only() -> Iterator[None]:
    """Let a Ray that is started in the block listen on 127.0.0.1 only, as Ray does on Windows and macOS.

    On Linux its servers listen on every interface, guarded by the token alone, and `ray.init` turns a loopback address
    it is given into the machine's own. The switch between the two is private; without it Ray starts as it always does.
    """
    from ray._private import ray_constants

    if getattr(ray_constants, _CLUSTERS, None) is None:
        _LOG.warning("this Ray cannot be kept to 127.0.0.1; its ports are open to the network, guarded by its token")
    with swapped(ray_constants, _CLUSTERS, lambda _real: False):
        yield


@contextmanager
def signals_kept() -> Iterator[None]:
    """Keep what SIGTERM does while Ray starts in the block.

    Ray's own handlers, in Python during its start and below it from the making of its core worker on, end the process
    at once, with the log of a crash. The setter is private; without it a SIGTERM meanwhile is Ray's.
    """
    from ray._private import utils

    with keeping(utils, "set_sigterm_handler"):
        yield


@contextmanager
def in_a_process_group_of_its_own() -> Iterator[None]:
    """Start Ray's processes in the block outside of this one's group, so that its signals are not theirs.

    Where they end first, the core worker ends this process with Ray's own exit code. They end with this process anyway.
    The class is private to Ray; without it they share the group.
    """
    from ray._private import services

    with swapped(services, "ConsolePopen", _apart) if hasattr(os, "setpgid") else nullcontext():
        yield


def _apart(start: Callable[..., Any]) -> Callable[..., Any]:
    def started(*args: Any, preexec_fn: Callable[[], None] | None = None, **options: Any) -> Any:
        def prepare() -> None:
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked here by `signals_kept`
            if preexec_fn is not None:
                preexec_fn()

        return start(*args, preexec_fn=prepare, **options)

    return started


def keep_token_private() -> None:
    """Take away what others may do with the token's file; Ray makes it readable for every user of the machine."""
    token = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):
        if token.stat().st_mode & 0o077:
            token.chmod(0o600)


def offered(current: dict[str, float]) -> dict[str, float]:
    """Return the resources of the cluster, or what its autoscaler may bring, whichever is more.

    A cluster that scales from zero has no processor and no GPU before the first task waits for one.

    Args:
        current: as of `ray.cluster_resources`.
    """
    from ray._private.state import state

    reachable = getattr(state, "get_max_resources_from_cluster_config", lambda: None)() or {}
    return {name: max(current.get(name, 0.0), float(reachable.get(name, 0.0))) for name in {*current, *reachable}}


def capacity(compute: ComputeConfig, resources: dict[str, float], *, gpu_memory: int = 0) -> Capacity:
    """Work out how many tasks fit; a cluster with GPUs gives each task one unless told otherwise.

    With ``gpu_memory``, the bytes of one GPU, tasks that are known to be small share one (`Capacity.gpus_for`).

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
    cpu_slots = min(fitting, compute.workers or fitting)
    slots = min(cpu_slots, int(resources["GPU"] / gpus)) if gpus else cpu_slots
    return Capacity(
        compute.cpus_per_task,
        gpus,
        slots,
        gpu_memory=gpu_memory,
        gpu_count=resources.get("GPU", 0) if gpu_memory else 0,
        cpu_slots=cpu_slots if gpu_memory else 0,
        placement=compute.placement,
    )
