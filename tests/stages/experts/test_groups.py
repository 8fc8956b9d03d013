"""Groups of experts: which belong together, what is written, and what a killed or diverging group leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ast_ray.config import Config
from ast_ray.core.experts.training import EpochRecord
from ast_ray.errors import DivergenceError
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.experts import train as experts
from ast_ray.stages.experts.groups import experts_together, grouped
from ast_ray.stages.experts.train import ExpertJob, train_experts
from ast_ray.stages.run.pipeline import Plan, expert_jobs, train_buffers
from ast_ray.storage.trajectory import read_metrics, read_segment
from ast_ray.telemetry.progress import Update
from tests.tiny import Recorder, tiny_plan

TOGETHER = {"expert__count": 3, "compute__experts_together": 3, "run__methods": ("ast",)}


class Dies(Recorder):
    """Stops when an expert's epoch is told."""

    def update(self, update: Update) -> None:
        super().update(update)
        if update.done == 2:
            raise SystemExit


@pytest.fixture(scope="module")
def whole(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = tiny_plan(tiny(**TOGETHER), tmp_path_factory.mktemp("together"))
    train_buffers(plan, ["ast"], SerialExecutor(Recorder()))
    return plan


def _bytes(plan: Plan) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in plan.buffer("ast").folder.glob("expert-*.parquet")}


def test_the_same_experts_as_one_at_a_time(tiny: Callable[..., Config], whole: Plan, tmp_path: Path) -> None:
    alone = tiny_plan(tiny(**{**TOGETHER, "compute__experts_together": 1}), tmp_path)
    sink = Recorder()
    train_buffers(alone, ["ast"], SerialExecutor(sink))
    assert alone.buffer("ast").fingerprint == whole.buffer("ast").fingerprint
    for number in range(3):
        paths = [plan.buffer("ast").path(number) for plan in (alone, whole)]
        for one, other in zip(*(read_segment(path, range(4)) for path in paths), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
        one, other = (read_metrics(path) for path in paths)
        assert one["epoch"] == other["epoch"]
        assert one["train_loss"][1:] == pytest.approx(other["train_loss"][1:], rel=1e-4)
        assert one["move"][1:] == pytest.approx(other["move"][1:], rel=1e-3)


def test_a_group_that_lost_a_file_writes_the_same_bytes_again(
    tiny: Callable[..., Config], whole: Plan, tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(**TOGETHER), tmp_path)
    train_buffers(plan, ["ast"], SerialExecutor(Recorder()))
    plan.buffer("ast").path(1).unlink()
    sink = Recorder()
    train_buffers(plan, ["ast"], SerialExecutor(sink))
    assert {update.key for update in sink.updates} == {"ast expert 1"}
    assert _bytes(plan) == _bytes(whole)


def test_a_killed_group_goes_on_and_writes_the_same_bytes(
    tiny: Callable[..., Config], whole: Plan, tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(compute__checkpoint_seconds=0, **TOGETHER), tmp_path)
    (one,) = grouped(expert_jobs(plan, ["ast"]), plan.data)
    with pytest.raises(SystemExit):
        train_experts(one, Dies())
    assert _bytes(plan) == {}
    sink = Recorder()
    train_experts(one, sink)
    # The first expert had told its second epoch, the others not yet: the group begins again, and tells what is new.
    assert sorted({update.done for update in sink.updates}) == [2, 3]
    assert _bytes(plan) == _bytes(whole)


def test_a_group_killed_between_epochs_trains_none_twice(
    tiny: Callable[..., Config], whole: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(tiny(compute__checkpoint_seconds=0, **TOGETHER), tmp_path)
    (one,) = grouped(expert_jobs(plan, ["ast"]), plan.data)
    real, epochs = experts.train_experts_together, list[int]()

    def dying(*arguments: object, **options: object) -> object:
        for outcomes in real(*arguments, **options):  # type: ignore[arg-type]
            epochs.append(next(record.epoch for record in outcomes.values() if isinstance(record, EpochRecord)))
            if epochs == [0, 1, 2]:
                raise SystemExit
            yield outcomes

    monkeypatch.setattr(experts, "train_experts_together", dying)
    with pytest.raises(SystemExit):
        train_experts(one, Recorder())
    train_experts(one, Recorder())
    assert epochs == [0, 1, 2, 2, 3]
    assert _bytes(plan) == _bytes(whole)


@pytest.fixture
def _second_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    real = experts.expert_network

    def broken(config: Config, data: object, number: int) -> torch.nn.Module:
        network = real(config, data, number)  # type: ignore[arg-type]
        if number == 1:
            next(network.parameters()).data.fill_(float("nan"))
        return network

    monkeypatch.setattr(experts, "expert_network", broken)


@pytest.mark.usefixtures("_second_diverges")
def test_one_that_diverges_and_is_not_asked_for_fails_nothing(tiny: Callable[..., Config], tmp_path: Path) -> None:
    plan, sink = tiny_plan(tiny(**TOGETHER), tmp_path), Recorder()
    (one,) = grouped(expert_jobs(plan, ["ast"]), plan.data)
    wanted = dataclasses.replace(one, ids=(0, 2))
    assert wanted.trained == (0, 1, 2)
    train_experts(wanted, sink)
    assert plan.buffer("ast").missing() == [1]
    assert {update.key for update in sink.updates} == {"ast expert 0", "ast expert 2"}


@pytest.mark.usefixtures("_second_diverges")
def test_one_that_diverges_is_named_and_the_others_are_published(
    tiny: Callable[..., Config], whole: Plan, tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(**TOGETHER), tmp_path)
    with pytest.raises(DivergenceError, match="expert 1 diverged in epoch 1"):
        train_buffers(plan, ["ast"], SerialExecutor(Recorder()))
    assert plan.buffer("ast").missing() == [1]
    for number in (0, 2):
        ours, theirs = (read_segment(p.buffer("ast").path(number), range(4)) for p in (plan, whole))
        np.testing.assert_allclose(ours[-1], theirs[-1], rtol=1e-3, atol=1e-5)


def test_groups_are_ranges_of_numbers_whatever_is_missing(tiny: Callable[..., Config], tmp_path: Path) -> None:
    def made(together: int, *missing: int) -> list[ExpertJob]:
        config = tiny(expert__count=5, run__methods=("ast",), compute__experts_together=together)
        plan = tiny_plan(config, tmp_path)
        jobs = expert_jobs(plan, ["ast"])
        return grouped([jobs[number] for number in missing or range(5)], plan.data)

    assert [job.trained for job in made(2)] == [(0, 1), (2, 3), (4,)]
    assert [(job.trained, job.ids) for job in made(2, 1, 4)] == [((0, 1), (1,)), ((4,), (4,))]
    assert [job.key for job in made(4)] == ["ast expert 0 to 3", "ast expert 4"]
    assert [job.key for job in made(4, 1)] == ["ast expert 1"]
    assert len({job.needs.gpu_memory / len(job.trained) for job in made(4)}) == 1


def test_experts_of_several_ranges_are_no_job(tiny: Callable[..., Config], tmp_path: Path) -> None:
    (job, *_) = expert_jobs(tiny_plan(tiny(expert__count=5), tmp_path), ["ast"])
    for ids in ((), (1, 2), (5,)):
        with pytest.raises(ValueError, match="are not those of one range of 2 below 5"):
            _ = dataclasses.replace(job, ids=ids, together=2).trained


def test_how_many_together(tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny_plan(tiny(expert__count=5), tmp_path)
    assert experts_together(plan.config, plan.data) == 1, "a CPU trains one at a time"
    assert experts_together(tiny(expert__count=5, compute__experts_together=9), plan.data) == 5

    class Properties:
        total_memory = 2**40

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    assert experts_together(tiny(expert__count=50), plan.data) == 8
    assert experts_together(tiny(expert__count=50, expert__expert_engine="compiled"), plan.data) == 1
    with monkeypatch.context() as patched:
        patched.setattr("ast_ray.config.engine._WORTH_COMPILING_EXPERTS", {"cuda": 0.0})
        assert experts_together(tiny(expert__count=50, expert__penalty_weight=1.0), plan.data) == 1, "compiled by auto"
    assert experts_together(tiny(expert__count=50, compute__device="cpu"), plan.data) == 1
    assert experts_together(tiny(expert__count=50, expert__batch_size=2**20, network__width=64), plan.data) == 1, (
        "a step fills the GPU"
    )
    Properties.total_memory = 2**10
    assert experts_together(plan.config, plan.data) == 1


def test_flat_experts_at_once_are_those_one_at_a_time_and_others_than_plain_ones(
    tiny: Callable[..., Config], whole: Plan, tmp_path: Path
) -> None:
    flat = {**TOGETHER, "expert__sharpness_rho": 2.0, "expert__sharpness_alpha": 0.3}
    plans = []
    for together in (1, 3):
        plan = tiny_plan(tiny(**{**flat, "compute__experts_together": together}), tmp_path / str(together))
        train_buffers(plan, ["ast"], SerialExecutor(Recorder()))
        plans.append(plan)
    assert plans[0].buffer("ast").fingerprint == plans[1].buffer("ast").fingerprint
    assert plans[0].buffer("ast").fingerprint != whole.buffer("ast").fingerprint
    for number in range(3):
        one, other, plain = (read_segment(plan.buffer("ast").path(number), (3,))[0] for plan in (*plans, whole))
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
        assert np.abs(one - plain).max() > 1e-3
