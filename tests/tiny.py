"""The smallest run that still has every part, and how two runs are compared byte by byte."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from ast_ray.config import Config, apply_overrides, check
from ast_ray.config.methods import METHODS
from ast_ray.config.presets import preset
from ast_ray.stages.device import real_data
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, run_all
from ast_ray.storage.run_directory import RunDirectory
from tests.recorder import Recorder

SETTINGS: Mapping[str, str] = {
    "data.train_size": "100",
    "network.width": "4",
    "network.depth": "1",
    "expert.count": "2",
    "expert.epochs": "3",
    "distill.iterations": "6",
    "distill.syn_steps": "3",
    "distill.max_start_epoch": "2",
    "distill.validate_every": "3",
    "distill.checkpoint_every": "2",
    "distill.log_every": "1",
    "evaluate.passes": "5",
    "evaluate.networks": "2",
    "evaluate.full_epochs": "1",
    "evaluate.full_steps": "0",
    "compute.backend": "serial",
}


_OF_TRAJECTORIES = ("expert.count", "expert.epochs", "distill.syn_steps", "distill.max_start_epoch")


def tiny_config(root: Path, overrides: Mapping[str, object] | None = None) -> Config:
    """The digits preset at the size of `SETTINGS`, its image cache in ``root``."""
    return check(apply_overrides(preset("digits"), {**SETTINGS, "data.root": str(root), **(overrides or {})}))


def arguments(root: Path, overrides: Mapping[str, object] | None = None) -> list[str]:
    """The same as command-line words; without settings of trajectories where no method of the run matches any."""
    values = {**SETTINGS, "data.root": str(root), **(overrides or {})}
    named = str(values.get("run.methods", "ast")).split(",")
    if named != ["none"] and not any(name in METHODS and METHODS[name].needs_experts for name in named):
        values = {name: value for name, value in values.items() if name not in _OF_TRAJECTORIES}
    words = ["--preset", "digits"]
    for name, value in values.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def tiny_plan(config: Config, path: Path, *, buffer: Path | None = None) -> Plan:
    """A plan in ``path`` with nothing written yet."""
    return Plan(config, real_data(config.data, torch.device("cpu")), RunDirectory(path), buffer)


def serial_run(config: Config, path: Path) -> Plan:
    """Run everything in this process."""
    plan = tiny_plan(config, path)
    assert run_all(plan, SerialExecutor(Recorder()), Recorder())["failed"] == []
    return plan


def artefacts(path: Path) -> dict[str, bytes]:
    """What must be the same bytes however a run went: experts and their markers, synthetic sets and their text."""
    wanted = [*path.glob("experts/*/*"), *path.glob("distill/*/*")]
    names = ("initial", "last", "synthetic", "outcome", "metrics", "buffer", "expert")
    kept = [file for file in wanted if file.name.startswith(names)]
    assert kept, f"nothing in {path}"
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(kept)}


def assert_same(one: Path, other: Path) -> None:
    """Fail with the names of the artefacts that differ."""
    left, right = artefacts(one), artefacts(other)
    differing = sorted(left.keys() ^ right.keys()) + [name for name in left if left[name] != right.get(name, b"")]
    assert not differing, f"not the same in {one} and {other}: {differing}"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow past so many bytes: writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def subprocess_environment() -> dict[str, str]:
    """The environment for ``python -m ast_ray`` from this checkout, without torch's own thread pools."""
    checkout = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": checkout, "OMP_NUM_THREADS": "1"}
