"""One private Ray for all tests of this folder, started before anything imports ray."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_AUTH_MODE", "token")  # read once, when ray is imported

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ast_ray.config import Config
from ast_ray.ray_backend.session import Capacity
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.run.pipeline import Plan
from tests.ray_backend.shared_distillation import SHARED, job_in
from tests.tiny import Recorder, serial_run, tiny_config


@pytest.fixture(scope="package")
def local_ray() -> Iterator[None]:
    """Two CPUs, no dashboard; sockets in a short path of its own."""
    import ray

    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=150 * 2**20,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()


@pytest.fixture
def two_slots(local_ray: None) -> Capacity:
    return Capacity(cpus=1, gpus=0, slots=2)


@pytest.fixture(scope="session")
def tiny(root: Path) -> Callable[..., Config]:
    """Build a tiny configuration; keyword names use __ for the dot."""

    def make(**overrides: object) -> Config:
        fewer = {"run.methods": "ast", "run.baselines": "random"}  # every worker that starts costs seconds
        return tiny_config(root, {**fewer, **{name.replace("__", "."): value for name, value in overrides.items()}})

    return make


@pytest.fixture(scope="session")
def serial(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The undisturbed run in one process, without Ray."""
    return serial_run(tiny(), tmp_path_factory.mktemp("serial"))


@pytest.fixture(scope="session")
def alone(tiny: Callable[..., Config], serial: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared distillation with its three segments one after the other in this process."""
    path = tmp_path_factory.mktemp("alone")
    distill(job_in(tiny(**SHARED), path, serial), Recorder())
    return path
