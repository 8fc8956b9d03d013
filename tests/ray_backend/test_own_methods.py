"""The workers of a cluster that was started before the command know the user's own method, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ast_ray.config.own_methods import VARIABLE
from tests.ray_backend.cluster_head import Head, running_head
from tests.tiny import arguments

pytestmark = pytest.mark.ray


SETTINGS = {"run.methods": "sliced", "run.baselines": "none", "evaluate.networks": 1, "compute.workers": 2}


def carried_out(head: Head, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``ast-ray WORDS`` as a client of the head that knows the method."""
    command = [sys.executable, "-m", "ast_ray", *words]
    environment = {**head.environment, VARIABLE: "examples.new_method"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


def test_a_cluster_is_told_the_modules_of_own_methods(tmp_path: Path) -> None:
    with running_head(tmp_path) as head:
        assert VARIABLE not in head.environment
        words = arguments(tmp_path, {**SETTINGS, "compute.backend": "ray", "compute.address": head.joined_at})
        done = carried_out(head, "run", *words, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "distill" / "sliced" / "outcome.json").is_file()


@pytest.mark.slow
def test_a_job_has_the_methods_of_the_heads_environment(tmp_path: Path) -> None:
    with running_head(tmp_path, variables={VARIABLE: "examples.new_method"}) as head:
        words = arguments(tmp_path, {**SETTINGS, "compute.backend": "ray"})
        done = carried_out(head, "submit", "run", *words, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "distill" / "sliced" / "outcome.json").is_file()
