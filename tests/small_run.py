"""A whole run directory as ``ast-ray run`` leaves it, in seconds: what tests of the report and TensorBoard read."""

from __future__ import annotations

from pathlib import Path

from ast_ray.config import Config
from ast_ray.stages.run.open import check_run, record_run
from ast_ray.stages.run.pipeline import Plan
from tests.tiny import serial_run, tiny_config, tiny_plan


def small_config(root: Path, **changed: object) -> Config:
    """Digits with 2 images per class and 6 iterations; ``changed`` overrides settings by their unique last name."""
    settings = {"distill.ipc": 2, "distill.syn_steps": 4, "run.baselines": "random", "compute.device": "cpu"}
    return tiny_config(root, {**settings, **changed})


def make_run(path: Path, config: Config) -> Plan:
    """Run everything in this process."""
    plan = tiny_plan(config, path)
    check_run(plan)
    record_run(plan, ["ast-ray", "run", "--preset", "digits"])
    return serial_run(config, path)
