"""Workers of a Ray cluster share a run that lies at an s3:// address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ast_ray.stages.run.pipeline import Plan
from tests.object_store import ObjectStore
from tests.tiny import arguments, artefacts, subprocess_environment

pytestmark = pytest.mark.ray


def test_ray_workers_leave_the_bytes_of_one_local_process(
    object_store: ObjectStore, serial: Plan, root: Path, tmp_path: Path
) -> None:
    fewer = {"run.methods": "ast", "run.baselines": "random", "compute.backend": "ray", "compute.workers": "2"}
    command = ["run", *arguments(root, fewer), "--out", object_store.address("ray/run")]
    done = subprocess.run(
        [sys.executable, "-m", "ast_ray", *command],
        env=subprocess_environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, content in artefacts(serial.directory.path).items():
        assert object_store.content(f"ray/run/{name}") == content, name
    assert {"manifest.json", "results.json", "evaluation/rows.parquet"} <= object_store.names("ray/run").keys()
