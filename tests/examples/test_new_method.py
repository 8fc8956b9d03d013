"""The example of a method of one's own: its gradient, and runs of it by the command, here and on Ray's workers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ast_ray.config import Config
from ast_ray.config.methods import METHODS
from ast_ray.config.own_methods import VARIABLE
from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.base import IMAGES, Sources
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.rng import stream
from tests.tiny import arguments, assert_same, subprocess_environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The module, its method taken off the table again, so that no other test meets it."""
    module = import_module("examples.new_method")
    METHODS.pop("sliced", None)
    return module


@pytest.fixture
def problem(example, make_network, make_images):
    generator = stream(0, "real")
    real = torch.randn(60, *make_images()[0].shape[1:], generator=generator, dtype=torch.float64)
    labels = torch.arange(60) % 3
    network, (images, mine) = make_network(), make_images()
    config = example.as_sliced(Config(distill=DistillConfig(ipc=2)))
    return example.open_problem(Sources(config, network, mine, 3, real_images=real, real_labels=labels)), images


def test_the_gradient_is_that_of_the_loss(problem):
    problem, images = problem
    state = problem.begin(images, 0.01)
    draw = problem.draw(state, 0)
    found = problem.gradients(state, draw)
    direction = torch.randn(images.shape, generator=stream(1, "direction"), dtype=images.dtype)
    step = 1e-6
    sides = [problem.gradients(state.changed({IMAGES: images + sign * step * direction}), draw) for sign in (1, -1)]
    slope = float(sides[0].loss - sides[1].loss) / (2 * step)
    assert float((found.learned[IMAGES] * direction).sum()) == pytest.approx(slope, rel=1e-6)


def test_the_distance_by_hand(example):
    """Along (1, 0) the real pixels are 0, 2, 4, 10 and the synthetic ones 8 and 1: pairs 1-1 and 8-7."""
    real = torch.tensor([[4.0, 9.0], [0.0, 9.0], [10.0, 9.0], [2.0, 9.0]])
    mine = torch.tensor([[8.0, 0.0], [1.0, 0.0]])
    found, nothing = example.sliced_distance(mine, real, torch.tensor([[1.0], [0.0]]))
    assert float(found) == pytest.approx(0.5)
    assert float(nothing) == pytest.approx((1 + 49) / 2)


def test_iterations_lower_the_loss(problem):
    problem, images = problem
    state = problem.begin(images, 0.01)
    losses = []
    for _ in range(40):
        state, report = iterate(problem, state)
        losses.append(report.relative_loss)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def words(root: Path, out: Path, backend: str) -> list[str]:
    settings = {
        "run.methods": "sliced",
        "run.baselines": "none",
        "distill.iterations": 20,
        "evaluate.passes": 60,
        "compute.backend": backend,
        "compute.workers": 2,
    }
    return ["run", *arguments(root, settings), "--out", str(out)]


def carried_out(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**subprocess_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the example by itself, in one process."""
    place = tmp_path_factory.mktemp("serial")
    done = carried_out(["-m", "examples.new_method", *words(place, place / "run", "serial")])
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "run"


def test_the_command_runs_it(run):
    (row,) = [row for row in json.loads((run / "results.json").read_text())["rows"] if row["set"] == "sliced"]
    assert row["mean"] > 0.3  # a tenth by chance


def test_its_set_is_evaluated_without_the_module(run, tmp_path):
    """Whoever gets a set of an unknown method uses its images all the same."""
    command = ["evaluate", str(run / "distill" / "sliced"), "--evaluate.networks", "1", "--evaluate.passes", "60"]
    where = ["--data.root", str(run.parent), "--compute.backend", "serial", "--out", str(tmp_path / "out")]
    done = carried_out(["-m", "ast_ray", *command, *where])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sliced" in done.stdout


@pytest.mark.ray
def test_workers_of_ray_know_it(run, tmp_path):
    done = carried_out(
        ["-m", "ast_ray", *words(tmp_path, tmp_path / "run", "ray")], **{VARIABLE: "examples.new_method"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(run, tmp_path / "run")


def test_without_the_variable_its_name_is_unknown(tmp_path):
    done = carried_out(["-m", "ast_ray", *words(tmp_path, tmp_path / "run", "serial")])
    assert done.returncode == 2
    assert "'sliced'" in done.stderr
