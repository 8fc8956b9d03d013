"""The session of every working command: load the images, open Ray, show progress.

Brings torch and the stages along, which take seconds to load: imported when the work begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from ast_ray.cli.command_line import command_line
from ast_ray.cli.display import Display
from ast_ray.config import Config
from ast_ray.config.methods import matched_methods
from ast_ray.ray_backend.reach import require_cluster, require_room
from ast_ray.stages.device import images_to_decode, prepare_images, real_data, resolve_device
from ast_ray.stages.engine import describe_engines
from ast_ray.stages.evaluation.verdicts import small_splits
from ast_ray.stages.executor import Executor, SerialExecutor
from ast_ray.stages.run.open import check_run, record_run, unused
from ast_ray.stages.run.pipeline import Plan
from ast_ray.stages.run.preflight import check_apart
from ast_ray.storage.claim import claimed
from ast_ray.storage.folder import Folder
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.telemetry.progress import Update

WORTH_RAY = 2048
"""Images from which decoding is spread over Ray tasks; fewer are decoded in threads before Ray is up."""


@dataclass(frozen=True)
class Session:
    """An open run: its plan, where jobs go, and the display."""

    plan: Plan
    executor: Executor
    display: Display


def default_out(config: Config) -> Path:
    """``runs/<preset>``, or ``runs/custom``."""
    return Path("runs") / (config.preset or "custom")


@contextmanager
def open_session(
    config: Config,
    out: str | None,
    console: Console,
    *,
    quiet: bool,
    buffer: str | None = None,
    head: Callable[[Plan], Sequence[str]] | None = None,
) -> Iterator[Session]:
    """Check everything that can be checked, then open the executor the settings ask for.

    ``head`` gives the lines to print before the work, unless ``quiet``.
    """
    check_device(config)
    device = resolve_device(config.compute) if config.compute.backend == "serial" else torch.device("cpu")
    directory = RunDirectory.open(out or default_out(config), "out")
    check_apart(config, directory.path)
    if config.compute.store:
        Folder.open(config.compute.store, "compute.store")
    experts = Folder.open(buffer, "experts").path if buffer else None
    with ExitStack() as stack:
        stack.enter_context(claimed(directory.lock, "another run", command_line()))
        directory.pull_records()
        display = stack.enter_context(Display(console, quiet=quiet))
        executor = None
        if config.compute.backend == "ray" and images_to_decode(config.data) >= WORTH_RAY:
            executor = stack.enter_context(open_executor(config, display))
        decode(config, display, on_ray=executor is not None)
        data = real_data(config.data, device)
        plan = Plan(config, data, directory, experts)
        check_run(plan)
        if head is not None and not quiet:
            display.show(head(plan))
        elif matched_methods(config) and not config.compute.address:
            for line in describe_engines(config, data):
                display.say(line)
        small = small_splits(len(data.validation_labels), len(data.test_labels))
        for line in (*unused(plan), *data.split_notes, *small):
            display.say(line)
        executor = executor or stack.enter_context(open_executor(config, display))
        record_run(plan, command_line())
        yield Session(plan, executor, display)


def decode(config: Config, display: Display, *, on_ray: bool) -> None:
    """Decode the images once, in Ray tasks or threads, with progress; say what was left out."""

    def progress(what: str, done: int, total: int) -> None:
        display.update(Update(what, done, total))

    if on_ray:
        from ast_ray.ray_backend.decoding import RayMapper

        mapper = RayMapper(max_attempts=config.compute.max_attempts)
        warnings = prepare_images(config.data, mapper=mapper, progress=progress)
    else:
        warnings = prepare_images(config.data, progress=progress)
    for warning in warnings:
        display.say(warning)


def check_device(config: Config) -> None:
    """Refuse before any work what this machine does not have, or a cluster that does not answer.

    What a cluster has is asked once it is joined.

    Raises:
        ResourceError: no GPU, no answer; ConfigError: more per task than there is, or an address that cannot be.
    """
    compute = config.compute
    if compute.address:
        require_cluster(compute.address)
        return
    resolve_device(compute)
    if compute.backend == "ray":
        require_room(compute, torch.cuda.device_count())


@contextmanager
def open_executor(config: Config, display: Display) -> Iterator[Executor]:
    """The executor of ``compute.backend``."""
    if config.compute.backend == "serial":
        yield SerialExecutor(display)
        return
    from ast_ray.ray_backend.session import ray_session

    with ray_session(config.compute) as capacity:
        from ast_ray.ray_backend.executor import RayExecutor

        yield RayExecutor(capacity, display, max_attempts=config.compute.max_attempts)
