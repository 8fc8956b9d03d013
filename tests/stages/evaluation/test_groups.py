"""Groups of evaluated networks: which belong together, what is written, and what a diverging or damaged one leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from ast_ray.config import Config
from ast_ray.config.presets import preset
from ast_ray.core.networks import Network
from ast_ray.errors import DivergenceError
from ast_ray.stages.evaluation import evaluate as module
from ast_ray.stages.evaluation import validation
from ast_ray.stages.evaluation.evaluate import EvaluationJob, unfinished
from ast_ray.stages.evaluation.jobs import networks_at_once
from ast_ray.stages.evaluation.named_sets import set_jobs, set_paths
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run import pipeline
from ast_ray.stages.run.pipeline import Plan, evaluate_sets, evaluated, evaluation_jobs
from tests import documents
from tests.tiny import Recorder, tiny_plan

Tiny = Callable[..., Config]
Row = dict[str, object]
NETWORKS = 5


def jobs_in(tiny: Tiny, folder: Path, **overrides: object) -> list[EvaluationJob]:
    """The full set, on groups of three networks and two."""
    given = {"run__methods": "none", "run__baselines": "full", "evaluate__networks": NETWORKS, "real_lr": 0.05}
    return evaluation_jobs(tiny_plan(tiny(**{**given, "compute__networks_together": 3, **overrides}), folder))


def paths_in(jobs: Sequence[EvaluationJob]) -> list[Path]:
    """The files of all networks, in order."""
    return [job.row(index) for job in jobs for index in job.indices]


def rows_in(jobs: Sequence[EvaluationJob]) -> list[Row]:
    """What the files say, but for the time it took."""
    rows = [documents.content(path) for path in paths_in(jobs) if path.exists()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def evaluate(jobs: Sequence[EvaluationJob]) -> Recorder:
    sink = Recorder()
    evaluate_sets(jobs, SerialExecutor(sink), sink)
    return sink


def assert_close(rows: Sequence[Row], others: Sequence[Row], images: int) -> None:
    """The same rows to the rounding of floats: two test images may be seen otherwise."""
    for one, other in zip(rows, others, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=2.5 / images)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        measured = {"accuracy": 0, "loss": 0}
        assert one | measured == other | measured


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> list[EvaluationJob]:
    jobs = jobs_in(tiny, tmp_path_factory.mktemp("together"))
    evaluate(jobs)
    return jobs


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Numbers of the networks that were trained together."""
    found: list[tuple[int, ...]] = []
    real = module.train_fresh

    def noted(*arguments: object, **options: object) -> object:
        if options["together"]:
            found.append(tuple(options["indices"]))  # type: ignore[arg-type]
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train_fresh", noted)
    return found


def test_training_accuracy_is_in_rows_of_the_full_set_trained_together(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"evaluate__full_steps": 15, "evaluate__networks": 2}
    together = jobs_in(tiny, tmp_path / "together", **changes)
    alone = jobs_in(tiny, tmp_path / "alone", **changes, compute__networks_together=1)
    for jobs in (together, alone):
        evaluate(jobs)
    for one, other in zip(rows_in(together), rows_in(alone), strict=True):
        assert one["steps"] == other["steps"] == 16
        for name in ("train_accuracy", "train_accuracy_before"):
            assert one[name] == pytest.approx(other[name], abs=0.03)


def test_the_same_rows_as_one_at_a_time(
    tiny: Tiny, whole: list[EvaluationJob], tmp_path: Path, trained: list[tuple[int, ...]]
) -> None:
    alone = jobs_in(tiny, tmp_path, compute__networks_together=1)
    evaluate(alone)
    assert trained == []
    assert len({row["loss"] for row in rows_in(whole)}) == NETWORKS
    assert_close(rows_in(whole), rows_in(alone), images=500)


def test_a_synthetic_set_with_several_networks_and_protocols(
    tiny: Tiny, reference: Plan, tmp_path: Path, trained: list[tuple[int, ...]]
) -> None:
    paths = set_paths([str(reference.directory.method("ast").path)])

    def jobs(together: int) -> list[EvaluationJob]:
        settings = {"architectures": "convnet,mlp-w8,convnet-w4-bn", "protocols": "strict,no-augmentation,peak"}
        config = tiny(**settings, compute__networks_together=together)
        return set_jobs(config, paths, tmp_path / str(together), ("random",))

    evaluate(jobs(1))
    assert trained == []
    sink = evaluate(jobs(2))
    assert trained == [(0, 1)] * 4
    assert_close(rows_in(jobs(2)), rows_in(jobs(1)), images=500)
    assert [update.done for update in sink.updates] == list(range(1, 2 * 2 * 9 + 1))


def test_a_row_takes_an_equal_share_of_the_time(whole: list[EvaluationJob]) -> None:
    seconds = [documents.content(path)["seconds"] for path in paths_in(whole)]
    assert len(set(seconds[:3])) == len(set(seconds[3:])) == 1
    assert min(seconds) > 0


@pytest.mark.parametrize("left", [None, "{", '{"token": "another"}'])
def test_a_group_that_lost_a_row_is_trained_whole_and_writes_the_same_again(
    tiny: Tiny, whole: list[EvaluationJob], tmp_path: Path, trained: list[tuple[int, ...]], left: str | None
) -> None:
    jobs = jobs_in(tiny, tmp_path)
    evaluate(jobs)
    assert rows_in(jobs) == rows_in(whole)
    lost = jobs[0].row(1)
    lost.unlink()
    if left is not None:
        lost.write_text(left)
    before = {path: path.stat().st_mtime_ns for path in paths_in(jobs) if path != lost}
    trained.clear()
    sink = evaluate(jobs)
    assert trained == [(0, 1, 2)]
    assert [update.done for update in sink.updates] == [NETWORKS]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert rows_in(jobs) == rows_in(whole)


def test_what_another_worker_finished_meanwhile_is_not_trained_again(
    whole: list[EvaluationJob], trained: list[tuple[int, ...]]
) -> None:
    rows = module.evaluate(whole[0], Recorder())
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert trained == []


def test_one_that_diverges_is_named_and_the_others_are_published(
    tiny: Tiny, whole: list[EvaluationJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = validation._fresh

    def broken(config: Config, data: object, network: object, role: str, index: int, device: torch.device) -> Network:
        fresh = real(config, data, network, role, index, device)  # type: ignore[arg-type]
        if index == 1:
            next(fresh.parameters()).data.fill_(float("nan"))
        return fresh

    monkeypatch.setattr(validation, "_fresh", broken)
    jobs = jobs_in(tiny, tmp_path)
    with pytest.raises(DivergenceError, match=r"set 'full', network 1: evaluation diverged: training loss nan with"):
        evaluate(jobs)
    assert not jobs[0].row(1).exists()
    assert_close(rows_in(jobs), [row for row in rows_in(whole) if row["seed"] != 1], images=500)


def test_groups_are_ranges_of_numbers_whatever_is_missing(tiny: Tiny, tmp_path: Path) -> None:
    jobs = jobs_in(tiny, tmp_path, evaluate__networks=7)
    assert [job.indices for job in jobs] == [job.trained for job in jobs] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert [job.key for job in jobs] == ["evaluate full 0 to 2", "evaluate full 3 to 5", "evaluate full 6"]
    late = dataclasses.replace(jobs[1], indices=(4,))
    assert (late.trained, late.key) == ((3, 4, 5), "evaluate full 4")


def test_what_is_unfinished_of_a_group_keeps_its_range(tiny: Tiny, tmp_path: Path) -> None:
    jobs = jobs_in(tiny, tmp_path)
    evaluate(jobs)
    assert unfinished(jobs) == []
    for index in (0, 2):
        jobs[0].row(index).unlink()
    (left,) = unfinished(jobs)
    assert (left.indices, left.trained, left.key) == ((0, 2), (0, 1, 2), "evaluate full 0 to 2")


def test_a_group_needs_what_its_members_need(tiny: Tiny, tmp_path: Path) -> None:
    jobs = jobs_in(tiny, tmp_path)
    one = jobs[0].gpu_memory
    assert one > 0
    assert [job.needs.gpu_memory for job in jobs] == [3 * one, 2 * one]


def test_what_cannot_be_grouped_stays_one_job_per_network(tiny: Tiny, tmp_path: Path) -> None:
    more = {"run__baselines": "random,herding,full", "protocols": "strict,peak", "architectures": "mlp,convnet-bn"}
    jobs = jobs_in(tiny, tmp_path, **more)
    together = {(job.set_name, job.architecture, job.protocol): len(job.indices) for job in jobs if job.together > 1}
    assert together.keys() == {("herding", "mlp", "strict"), ("full", "mlp", "strict")}
    assert {len(job.indices) for job in jobs if job.together == 1} == {1}
    assert len(jobs) == 2 * 2 + (10 - 2) * NETWORKS, "of ten groups two are trained at once, in two jobs each"


def test_a_cpu_trains_one_at_a_time_unless_told_otherwise(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for together in (0, 1):
        jobs = jobs_in(tiny, tmp_path, compute__networks_together=together)
        assert [job.indices for job in jobs] == [(number,) for number in range(NETWORKS)]
    calls: list[EvaluationJob] = []
    monkeypatch.setattr(pipeline, "evaluate", lambda job, _: calls.append(job) or [])
    list(evaluated(jobs, SerialExecutor(Recorder())))
    assert calls == jobs


def test_how_many_at_once_on_a_gpu(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 80 * 2**30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    data = tiny_plan(tiny(), tmp_path).data

    def at_once(config: Config, source: str = "full", images: int = 100) -> int:
        return networks_at_once(config, data, source, "strict", "", images=images)

    assert at_once(tiny(evaluate__networks=5)) == 5
    assert at_once(tiny(evaluate__networks=50)) == 8
    assert at_once(tiny(evaluate__networks=50, evaluate__full_networks=2)) == 2
    assert at_once(tiny(evaluate__networks=50, compute__device="cpu")) == 1
    assert at_once(tiny(evaluate__networks=50, compute__networks_together=20)) == 20
    wide = dataclasses.replace(preset("nette-ipc1"), compute=tiny().compute)
    large = dataclasses.replace(data, train_images=torch.zeros(1, 3, 128, 128))
    assert networks_at_once(wide, large, "full", "strict", "", images=10_000) < wide.evaluate.networks
    assert networks_at_once(wide, large, "herding", "strict", "", images=10) == wide.evaluate.networks
    Properties.total_memory = 2**10
    assert at_once(tiny(evaluate__networks=50)) == 1
