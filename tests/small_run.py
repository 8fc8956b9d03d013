"""A whole run of digits in a few seconds: the run directory that tests of what people look at read."""

from __future__ import annotations

from pathlib import Path

import torch

from ast_ray.config import Config, apply_overrides
from ast_ray.config.presets import preset
from ast_ray.stages.context import real_data
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.pipeline import Plan, run_all
from ast_ray.stages.run_setup import open_run
from ast_ray.telemetry.progress import Silent
from ast_ray.telemetry.run_directory import RunDirectory

SETTINGS = {
    "network.width": 4,
    "expert.count": 2,
    "expert.epochs": 3,
    "expert.penalty_weight": 0,
    "distill.iterations": 6,
    "distill.syn_steps": 4,
    "distill.max_start_epoch": 1,
    "distill.ipc": 2,
    "distill.validate_every": 3,
    "distill.log_every": 1,
    "distill.checkpoint_every": 2,
    "evaluate.networks": 2,
    "evaluate.passes": 4,
    "run.baselines": "random",
    "compute.device": "cpu",
}


def small_config(**changed: object) -> Config:
    """Digits, tiny; ``changed`` overrides settings by their unique last name."""
    return apply_overrides(preset("digits"), {**SETTINGS, **changed})


def make_run(path: Path, config: Config) -> Plan:
    """Run everything in this process."""
    data = real_data(config.data, torch.device("cpu"))
    plan = Plan(config, data, RunDirectory(path))
    open_run(config, data, plan.directory, ["ast-ray", "run", "--preset", "digits"])
    run_all(plan, SerialExecutor(Silent()), Silent())
    return plan
