"""Counted steps by hand, with a watch whose times are round numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ast_ray.config import ComputeConfig, Config
from ast_ray.config.settings import ExpertConfig
from ast_ray.stages.run import estimate
from ast_ray.stages.run.estimate import expected, workers_here
from ast_ray.stages.run.pipeline import Plan
from ast_ray.stages.run.preflight import expert_bytes
from tests.tiny import tiny_plan


class Watch:
    """A hundredth of a second per image of a step or a score; experts 1 s with penalty, 0.25 s without; students 0.5 s.

    The tiny run: 100 images in two batches, 297 to validate, 500 to test, three epochs, two experts per method, six
    iterations of three steps, two validations of two networks, five passes over ten images, two networks per row.
    """

    scored_image = 0.01

    def __init__(self, *_: object) -> None:
        pass

    def training_step(self, batch: int) -> float:
        return 0.001 * batch

    def expert_step(self, expert: ExpertConfig, images: int) -> float:
        assert images == 100
        return 1.0 if expert.penalty_weight else 0.25

    def student_step(self, _config: Config) -> float:
        return 0.5


EXPERTS = 2 * (3 * (2 * 1.0 + 2.97) + 3 * (2 * 0.25 + 2.97))
DISTILLATIONS = 2 * (6 * 3 * 0.5 + 2 * 2 * (5 * 0.01 + 2.97))
SMALL_ROWS = 8 * (5 * 0.01 + 5.0)
FULL_ROWS = 2 * (2 * 0.064 + 5.0)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "Stopwatch", Watch)


@pytest.mark.usefixtures("watched")
def test_a_whole_run_by_hand(tiny: Callable[..., Config], tmp_path: Path) -> None:
    plan = tiny_plan(tiny(), tmp_path)
    found = expected(plan)
    assert found.seconds == pytest.approx(EXPERTS + DISTILLATIONS + SMALL_ROWS + FULL_ROWS)
    assert (found.workers, found.left, found.partly) == (1, True, False)
    assert found.disk == 4 * expert_bytes(plan.config, plan.data)
    assert found.memory > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("watched")
def test_stages_and_workers_by_hand(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expected(tiny_plan(tiny(), tmp_path), ("experts",)).seconds == pytest.approx(EXPERTS)
    monkeypatch.setattr(estimate, "cores", lambda: 8)
    plan = tiny_plan(tiny(compute__backend="ray", compute__workers=4), tmp_path)
    found = expected(plan, ("experts", "distillation"))
    assert found.seconds == pytest.approx(EXPERTS / 4 + DISTILLATIONS / 2)
    assert found.workers == 4


@pytest.mark.usefixtures("watched")
def test_longer_training_on_the_full_set_counts(tiny: Callable[..., Config], tmp_path: Path) -> None:
    given = {"run__methods": "none", "run__baselines": "full", "evaluate__full_steps": 15}
    found = expected(tiny_plan(tiny(**given), tmp_path))
    assert found.seconds == pytest.approx(2 * (8 * 2 * 0.064 + 5.0))


@pytest.mark.usefixtures("watched")
def test_peeking_scores_the_test_set_again_and_again(tiny: Callable[..., Config], tmp_path: Path) -> None:
    given = {"run__methods": "none", "run__baselines": "random", "protocols": "peak", "peak_every": 2}
    found = expected(tiny_plan(tiny(**given), tmp_path))
    assert found.seconds == pytest.approx(2 * (5 * 0.01 + 3 * 5.0))  # after passes 2, 4 and 5


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(("protocol", "steps"), [("dc", 300), ("frepo", 1000)])
def test_published_protocols_take_their_own_steps(
    tiny: Callable[..., Config], tmp_path: Path, protocol: str, steps: int
) -> None:
    given = {"run__methods": "none", "run__baselines": "random", "protocols": protocol}
    found = expected(tiny_plan(tiny(**given), tmp_path))
    assert found.seconds == pytest.approx(2 * (steps * 0.01 + 5.0))


@pytest.mark.usefixtures("watched")
def test_what_is_there_costs_nothing(reference: Plan) -> None:
    found = expected(reference)
    assert (found.seconds, found.left, found.disk) == (0, False, 0)


@pytest.mark.usefixtures("watched")
def test_other_networks_are_not_counted_and_clusters_not_timed(tiny: Callable[..., Config], tmp_path: Path) -> None:
    given = {"run__methods": "none", "run__baselines": "random", "architectures": "convnet,mlp"}
    found = expected(tiny_plan(tiny(**given), tmp_path))
    assert found.partly
    assert found.seconds == pytest.approx(2 * (5 * 0.01 + 5.0))
    away = expected(tiny_plan(tiny(compute__backend="ray", compute__address="head:1"), tmp_path))
    assert (away.seconds, away.left) == (None, True)


def test_workers_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "cores", lambda: 6)
    assert workers_here(ComputeConfig(backend="serial", workers=4)) == 1
    assert workers_here(ComputeConfig()) == 6
    assert workers_here(ComputeConfig(workers=2)) == 2
    assert workers_here(ComputeConfig(workers=5, cpus_per_task=2)) == 3
    assert workers_here(ComputeConfig(cpus_per_task=8)) == 1
