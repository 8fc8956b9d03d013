"""Every method through the loop and the run: resumed bytes, killed processes, experts only where they are matched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ast_ray.config import Config
from ast_ray.config.identity import fingerprint
from ast_ray.config.methods import METHODS
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.synthetic import load_synthetic
from tests import documents
from tests.tiny import Recorder, arguments, serial_run, tiny_config, tiny_plan

QUICK = {
    "distill.ipc": 2,
    "gradient_matching.epochs": 2,
    "feature_alignment.inner_limit": 2,
    "feature_regression.pool": 2,
    "feature_regression.lr": 0.02,
    "run.baselines": "random",
}
REAL = tuple(name for name, info in METHODS.items() if not info.needs_experts)
SETS = ("synthetic.safetensors", "last.safetensors", "metrics.jsonl", "outcome.json")


class StopError(Exception):
    """Stands for a process that is gone."""


class StopAt(Recorder):
    """Dies when an iteration is told."""

    def __init__(self, iteration: int) -> None:
        super().__init__()
        self.iteration = iteration

    def update(self, update) -> None:
        if update.done == self.iteration:
            raise StopError


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """One run of all methods that match real images, in this process."""
    folder = tmp_path_factory.mktemp("methods")
    config = tiny_config(folder, {**QUICK, "run.methods": ",".join(REAL)})
    return serial_run(config, folder / "run")


@pytest.mark.parametrize("method", REAL)
def test_a_distillation_goes_on_from_its_checkpoint_with_the_undisturbed_bytes(
    undisturbed: Plan, tmp_path: Path, method: str
) -> None:
    job = tiny_plan(undisturbed.config, tmp_path / "cut").distill_job(method)
    with pytest.raises(StopError):
        distill(job, StopAt(5))
    assert job.directory.checkpoint.exists()
    distill(job, Recorder())
    for name in SETS:
        theirs = undisturbed.directory.method(method).path / name
        assert (job.directory.path / name).read_bytes() == theirs.read_bytes(), name


def test_a_run_of_such_methods_has_no_experts_and_says_so(undisturbed: Plan) -> None:
    assert not undisturbed.directory.experts.exists()
    results = documents.content(undisturbed.directory.results)
    assert results["experts"] == {}
    assert [row["set"] for row in results["rows"]] == ["random", *reversed(REAL)]
    for method in REAL:
        found = load_synthetic(undisturbed.directory.method(method).synthetic)
        assert (found.targets is not None) == (METHODS[method].target_loss == "mse")
        assert found.student_lr == undisturbed.config.evaluate.real_lr
        assert found.provenance["student_lr"] == "real_lr"
        sections = {info.section for info in METHODS.values()} - {""}
        assert sections & found.provenance["config"].keys() == {METHODS[method].section}
        row = documents.content(undisturbed.directory.row(method, "convnet", "strict", 0))
        assert (row["lr_source"], row["lr"]) == ("real_lr", undisturbed.config.evaluate.real_lr)


@pytest.mark.parametrize("method", REAL)
def test_settings_of_experts_do_not_identify_it_and_its_own_do(tmp_path: Path, method: str) -> None:
    section = METHODS[method].section
    own = {"gradient_matching": "real_batch", "distribution_matching": "real_batch"}.get(section, "real_batch")

    def identity(**changes: object) -> str:
        config = tiny_config(tmp_path, {**QUICK, "run.methods": method, **changes})
        return fingerprint(tiny_plan(config, tmp_path / "run").distill_job(method).identity)

    plain = identity()
    assert identity(**{"expert.lr": 0.5, "expert.count": 7, "distill.syn_steps": 5}) == plain
    assert identity(**{f"{section}.{own}": 9}) != plain
    assert identity(**{"distill.ipc": 1}) != plain


def test_real_images_that_an_expert_chooses_cost_one_expert(tmp_path: Path) -> None:
    plan = serial_run(
        tiny_config(tmp_path, {**QUICK, "run.methods": "dm", "run.baselines": "representative"}), tmp_path / "run"
    )
    assert len(list(plan.directory.experts.glob("*/expert-*.parquet"))) == 1


@pytest.mark.parametrize("method", ["ftd", "tesla"])
def test_methods_on_experts_of_their_own_go_on_with_the_undisturbed_bytes(
    tiny: Callable[..., Config], tmp_path: Path, method: str
) -> None:
    config = tiny(run__methods=method, run__baselines="random", direct_matching__assigned_labels=True)
    whole = serial_run(config, tmp_path / "whole")
    found = load_synthetic(whole.directory.method(method).synthetic)
    assert (found.targets is not None) == (method == "tesla")
    shutil.copytree(whole.directory.experts, tmp_path / "cut" / "experts")
    job = tiny_plan(config, tmp_path / "cut").distill_job(method)
    with pytest.raises(StopError):
        distill(job, StopAt(5))
    distill(job, Recorder())
    for name in SETS:
        theirs = whole.directory.method(method).path / name
        assert (job.directory.path / name).read_bytes() == theirs.read_bytes(), name


def test_a_killed_process_is_gone_on_with_by_the_same_command(tmp_path: Path) -> None:
    named = {"run.methods": "dm,dsa", "run.baselines": "random", "gradient_matching.epochs": 2, "distill.ipc": 2}
    settings = {**named, "distill.iterations": 40, "distill.checkpoint_every": 2}
    command = [sys.executable, "-m", "ast_ray", "run", *arguments(tmp_path, settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True, env=environment, timeout=300)
    running = subprocess.Popen([*command, "--out", str(cut)], stderr=subprocess.DEVNULL, env=environment)
    ends = time.monotonic() + 200
    while not list(cut.glob("distill/*/checkpoint.safetensors")) and time.monotonic() < ends:
        assert running.poll() is None, "ended before it could be killed"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    subprocess.run([*command, "--out", str(cut)], check=True, capture_output=True, env=environment, timeout=300)
    for method in ("dm", "dsa"):
        for name in SETS:
            one, other = (folder / "distill" / method / name for folder in (whole, cut))
            assert one.read_bytes() == other.read_bytes(), f"{method}/{name}"
