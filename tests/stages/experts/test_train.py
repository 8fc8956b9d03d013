from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ast_ray.config import Config
from ast_ray.core.parameters import FlatSpec, flatten, load
from ast_ray.errors import DivergenceError, ResourceError
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.experts.train import ExpertJob, expert_network, train_experts
from ast_ray.stages.run.pipeline import Plan, train_buffers
from ast_ray.storage.trajectory import read_metadata, read_metrics, read_segment
from ast_ray.telemetry.progress import Update
from tests.tiny import Recorder, tiny_plan


def job_in(plan: Plan, expert_id: int = 0) -> ExpertJob:
    buffer = plan.buffer("ast")
    buffer.prepare()
    return ExpertJob(plan.method("ast"), buffer, (expert_id,), str(plan.directory.tensorboard))


def test_the_file_holds_every_epoch_from_the_initialisation(reference: Plan) -> None:
    path = reference.buffer("ast").path(1)
    vectors = read_segment(path, range(4))
    network = expert_network(reference.config, reference.data, 1)
    assert vectors[0].tobytes() == flatten(network).detach().numpy().tobytes()
    assert len({vector.tobytes() for vector in vectors}) == 4
    metadata = read_metadata(path)
    assert metadata["epochs"] == 3
    assert metadata["expert_id"] == 1
    assert metadata["identity"]["expert"]["lr"] == 0.01


def test_move_is_the_squared_distance_of_neighbouring_epochs(reference: Plan) -> None:
    path = reference.buffer("ast").path(0)
    vectors, metrics = read_segment(path, range(4)), read_metrics(path)
    assert np.isnan(metrics["move"][0])
    for epoch in (1, 2, 3):
        expected = ((vectors[epoch].astype("f8") - vectors[epoch - 1].astype("f8")) ** 2).sum()
        assert metrics["move"][epoch] == pytest.approx(expected, rel=1e-5)
    summary = reference.buffer("ast").summaries()[0]
    assert summary.avg_var == pytest.approx(np.mean(metrics["move"][1:]))


def test_accuracy_is_that_of_the_validation_split(reference: Plan) -> None:
    path, data = reference.buffer("ast").path(0), reference.data
    network = expert_network(reference.config, data, 0)
    load(network, FlatSpec.of(network), torch.from_numpy(read_segment(path, (3,))[0].copy()))
    with torch.no_grad():
        right = (network(data.validation_images).argmax(1) == data.validation_labels).float().mean()
    assert read_metrics(path)["validation_accuracy"][3] == pytest.approx(float(right))


def test_a_finished_expert_is_not_trained_again(reference: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from ast_ray.stages.experts import train as experts

    def never(*_: object, **__: object) -> object:
        raise AssertionError("trained again")

    monkeypatch.setattr(experts, "train_expert", never)
    before = reference.buffer("ast").path(0).stat().st_mtime_ns
    assert train_experts(job_in(reference), Recorder()) == "expert 0"
    assert reference.buffer("ast").path(0).stat().st_mtime_ns == before


class Dies(Recorder):
    """Ends the process, as far as a test can, when an epoch is told."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def update(self, update: Update) -> None:
        super().update(update)
        if update.done == self.epoch:
            raise SystemExit


def visible(plan: Plan) -> list[str]:
    return sorted(path.name for path in plan.buffer("ast").folder.glob("[!.]*"))


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_worker_that_dies_publishes_nothing_and_its_successor_goes_on_and_writes_the_same_bytes(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, epoch: int
) -> None:
    plan = tiny_plan(tiny(compute__checkpoint_seconds=0), tmp_path)
    job, sink = job_in(plan, 1), Recorder()
    with pytest.raises(SystemExit):
        train_experts(job, Dies(epoch))
    assert visible(plan) == ["buffer.json"]
    train_experts(job, sink)
    assert [update.done for update in sink.updates] == list(range(epoch + 1, 4)), "no epoch is trained twice"
    assert plan.buffer("ast").path(1).read_bytes() == reference.buffer("ast").path(1).read_bytes()
    assert sorted(path.name for path in plan.buffer("ast").folder.iterdir()) == ["buffer.json", "expert-00001.parquet"]


def test_curves_of_an_expert_gone_on_with_start_at_its_first_epoch(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ast_ray.stages.experts import train as experts

    curves: list[list[dict[str, float]]] = []
    monkeypatch.setattr(experts, "log_expert", lambda _, rows: curves.append(rows))
    for name, epochs in (("undisturbed", []), ("killed", [1, 2])):
        job = job_in(tiny_plan(tiny(compute__checkpoint_seconds=0), tmp_path / name))
        for epoch in epochs:
            with pytest.raises(SystemExit):
                train_experts(job, Dies(epoch))
        train_experts(job, Recorder())
    assert repr(curves[0]) == repr(curves[1])
    assert len(curves[0]) == 4


def test_epochs_that_end_in_quick_succession_are_kept_together(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(compute__checkpoint_seconds=3600), tmp_path)
    job, sink = job_in(plan), Recorder()
    with pytest.raises(SystemExit):
        train_experts(job, Dies(2))
    assert list(plan.buffer("ast").progress(0).parts()) == []
    train_experts(job, sink)
    assert [update.done for update in sink.updates] == [0, 1, 2, 3]
    assert plan.buffer("ast").path(0).read_bytes() == reference.buffer("ast").path(0).read_bytes()


def test_an_experts_folder_that_vanishes_is_an_error_not_a_new_folder(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(compute__checkpoint_seconds=0), tmp_path / "run")
    job = job_in(plan)

    class Unmounts(Recorder):
        def update(self, update: Update) -> None:
            if update.done == 1:
                (tmp_path / "run").rename(tmp_path / "elsewhere")

    with pytest.raises(ResourceError, match="the experts' folder is gone, or is not visible on"):
        train_experts(job, Unmounts())
    assert not (tmp_path / "run").exists()
    with pytest.raises(ResourceError, match="is gone"):
        train_experts(job, Recorder())
    (tmp_path / "elsewhere").rename(tmp_path / "run")
    sink = Recorder()
    train_experts(job, sink)
    assert [update.done for update in sink.updates] == [2, 3]


def test_the_order_of_training_does_not_matter(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    plan = tiny_plan(tiny(), tmp_path)
    for expert_id in (1, 0):
        train_experts(job_in(plan, expert_id), Recorder())
        assert plan.buffer("ast").path(expert_id).read_bytes() == reference.buffer("ast").path(expert_id).read_bytes()


def test_more_experts_extend_a_buffer(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    plan = tiny_plan(tiny(run__methods="ast", expert__count=1), tmp_path)
    train_buffers(plan, ["ast"], SerialExecutor(Recorder()))
    first = plan.buffer("ast").path(0).stat().st_mtime_ns
    more = dataclasses.replace(plan, config=tiny(run__methods="ast"))
    assert [row.expert_id for row in train_buffers(more, ["ast"], SerialExecutor(Recorder()))["ast"]] == [0, 1]
    assert more.buffer("ast").path(0).stat().st_mtime_ns == first
    assert more.buffer("ast").path(1).read_bytes() == reference.buffer("ast").path(1).read_bytes()


def test_a_diverged_expert_publishes_nothing_and_says_what_to_lower(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(expert__lr=1e6), tmp_path)
    with pytest.raises(DivergenceError, match=r"expert 1 diverged in epoch 2 .*lower expert\.lr"):
        train_experts(job_in(plan, 1), Recorder())
    assert visible(plan) == ["buffer.json"]


def test_progress_is_told_epoch_by_epoch(tiny: Callable[..., Config], tmp_path: Path) -> None:
    sink = Recorder()
    train_experts(job_in(tiny_plan(tiny(), tmp_path)), sink)
    assert [(update.done, update.total) for update in sink.updates] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_threads_are_set_for_the_job_and_put_back(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Looks(Recorder):
        def update(self, update: Update) -> None:
            seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    train_experts(job_in(tiny_plan(tiny(compute__threads=2), tmp_path)), Looks())
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_an_expert_of_the_compiled_step_is_autograds_but_for_rounding_and_resumes_to_the_byte(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, compiled_code: None
) -> None:
    chosen = tiny(expert__expert_engine="compiled", compute__checkpoint_seconds=0)
    plans = [tiny_plan(chosen, tmp_path / name) for name in ("undisturbed", "killed")]
    train_experts(job_in(plans[0]), Recorder())
    with pytest.raises(SystemExit):
        train_experts(job_in(plans[1]), Dies(2))
    train_experts(job_in(plans[1]), Recorder())
    ours, killed = (plan.buffer("ast").path(0) for plan in plans)
    assert ours.read_bytes() == killed.read_bytes()
    assert plans[0].buffer("ast").folder.name != reference.buffer("ast").folder.name, "rounding is content"
    start, *_, end = read_segment(ours, range(4))
    expected = read_segment(reference.buffer("ast").path(0), (3,))[0]
    assert 0 < np.linalg.norm(end - expected) <= 1e-3 * np.linalg.norm(expected - start)


def test_a_killed_expert_of_adam_goes_on_with_both_moments(tiny: Callable[..., Config], tmp_path: Path) -> None:
    plans = [
        tiny_plan(tiny(expert__optimizer="adam", compute__checkpoint_seconds=0), tmp_path / name)
        for name in ("undisturbed", "killed")
    ]
    train_experts(job_in(plans[0]), Recorder())
    with pytest.raises(SystemExit):
        train_experts(job_in(plans[1]), Dies(1))
    train_experts(job_in(plans[1]), Recorder())
    assert len({plan.buffer("ast").path(0).read_bytes() for plan in plans}) == 1
