"""A cluster of several nodes on this machine, whose parts can be killed."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_AUTH_MODE", "token")  # read once, when ray is imported

import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ast_ray.config import Config
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, expert_jobs, train_buffers
from tests.failure.notes import Notes
from tests.tiny import Recorder, tiny_config, tiny_plan

_NODE = {"object_store_memory": 80 * 2**20}
# A dead node is noticed after a second instead of half a minute.
_QUICK = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "2",
    "RAY_health_check_initial_delay_ms": "0",
}


@pytest.fixture(scope="package")
def cluster() -> Iterator[Any]:
    """A head without CPUs, on which the driver is, and one node with two."""
    import ray
    from ray.cluster_utils import Cluster

    with (
        tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**_QUICK, "RAY_TMPDIR": folder}.items():
            patch.setenv(name, value)
        running = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **_NODE})
        running.add_node(num_cpus=2, **_NODE)
        ray.init(address=running.address, log_to_driver=False, logging_level=logging.ERROR)
        yield running
        ray.shutdown()
        running.shutdown()


@pytest.fixture
def another_node(cluster: Any) -> Iterator[Callable[[int], Any]]:
    """Add nodes for the length of a test."""
    added = []

    def add(cpus: int) -> Any:
        added.append(cluster.add_node(num_cpus=cpus, **_NODE))
        cluster.wait_for_nodes()
        return added[-1]

    yield add
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


@pytest.fixture(scope="session")
def tiny(root: Path) -> Callable[..., Config]:
    """A tiny configuration that keeps every epoch; keyword names use __ for the dot."""

    def make(**overrides: object) -> Config:
        values = {"run.methods": "ast", "run.baselines": "random", "compute.checkpoint_seconds": 0}
        return tiny_config(root, {**values, **{name.replace("__", "."): value for name, value in overrides.items()}})

    return make


@pytest.fixture(scope="session")
def undisturbed(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Three experts trained in one process."""
    plan = tiny_plan(tiny(expert__count=3), tmp_path_factory.mktemp("undisturbed"))
    train_buffers(plan, ["ast"], SerialExecutor(Recorder()))
    return plan


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    (tmp_path / "notes").mkdir()
    return Notes(str(tmp_path / "notes"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB; skipped where one cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def same_experts(plan: Plan, other: Plan) -> None:
    """Every expert of ``plan`` is finished, with the bytes of the other's, and nothing is left beside them."""
    buffer, theirs = plan.buffer("ast"), other.buffer("ast")
    assert expert_jobs(plan, ["ast"]) == []
    for expert_id in range(buffer.count):
        assert buffer.path(expert_id).read_bytes() == theirs.path(expert_id).read_bytes(), expert_id
    hidden = [path.name for path in buffer.folder.iterdir() if path.name.startswith(".expert")]
    assert hidden == []


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
