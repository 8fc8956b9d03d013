from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ast_ray.config import Config
from ast_ray.errors import DivergenceError, StoreError
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.team import Team
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.experts.train import ExpertJob
from ast_ray.stages.run import pipeline
from ast_ray.stages.run.pipeline import Plan, distill_outcomes, evaluation_jobs, expert_methods, run_all
from ast_ray.storage.synthetic import load_synthetic
from ast_ray.telemetry.progress import ProgressSink
from tests import documents
from tests.tiny import Recorder, artefacts, assert_same, serial_run, tiny_plan


@pytest.fixture
def finished_copy(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> Plan:
    """A copy of the reference run that may be changed."""
    shutil.copytree(reference.directory.path, tmp_path / "run")
    return tiny_plan(tiny(), tmp_path / "run")


def stamps(path: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make stages that must not be called fail."""
    for name in names:

        def never(*_: object, name: str = name) -> object:
            raise AssertionError(f"{name} was called")

        monkeypatch.setattr(pipeline, name, never)


def test_the_results_hold_every_set_once_with_its_seeds(reference: Plan) -> None:
    results = documents.content(reference.directory.results)
    assert [row["set"] for row in results["rows"]] == ["random", "representative", "mtt", "ast", "full"]
    for row in results["rows"]:
        assert row["n"] == 2
        assert row["seeds"] == [0, 1]
        assert row["protocol"] == "strict"
        assert row["network"] == "convnet"
        assert row["mean"] == pytest.approx(sum(row["accuracies"]) / 2)
        assert row["images"] == (100 if row["set"] == "full" else 10)
    assert results["experts"]["ast"]["count"] == 2
    assert results["experts"]["ast"]["avg_var"] != results["experts"]["mtt"]["avg_var"]


def test_a_finished_run_does_nothing_again(finished_copy: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stamps(finished_copy.directory.path)
    forbid(monkeypatch, "train_experts", "distill", "evaluate")
    results = run_all(finished_copy, SerialExecutor(Recorder()), Recorder())
    assert documents.content(finished_copy.directory.results) == results
    after = stamps(finished_copy.directory.path)
    changed = [name for name in after if before.get(name) != after[name]]
    assert changed == [str(finished_copy.directory.results)]


def test_only_what_is_missing_is_done_again(finished_copy: Plan, reference: Plan) -> None:
    run = finished_copy.directory
    finished_copy.buffer("ast").path(1).unlink()
    run.method("mtt").outcome.unlink()
    lost = run.row("random", "convnet", "strict", 1)
    lost.unlink()
    before = stamps(run.path)
    run_all(finished_copy, SerialExecutor(Recorder()), Recorder())
    assert artefacts(run.path) == artefacts(reference.directory.path)
    after = stamps(run.path)
    assert before[str(finished_copy.buffer("ast").path(0))] == after[str(finished_copy.buffer("ast").path(0))]
    assert before[str(run.method("ast").synthetic)] == after[str(run.method("ast").synthetic)]
    kept = run.row("random", "convnet", "strict", 0)
    assert before[str(kept)] == after[str(kept)]
    fresh = documents.content(reference.directory.row("random", "convnet", "strict", 1))
    assert documents.content(lost)["accuracy"] == fresh["accuracy"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["synthetic", "last"])
@pytest.mark.parametrize("harm", [Path.unlink, truncate, flip])
def test_a_finished_distillation_whose_set_is_lost_publishes_it_again(
    name: str, harm: Callable[[Path], None], finished_copy: Plan, reference: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    harm(getattr(finished_copy.directory.method("ast"), name))

    def never(*_: object) -> object:
        raise AssertionError("iterated again in spite of the checkpoint")

    monkeypatch.setattr("ast_ray.stages.distillation.loop.iterate", never)
    run_all(finished_copy, SerialExecutor(Recorder()), Recorder())
    assert artefacts(finished_copy.directory.path) == artefacts(reference.directory.path)


def test_without_its_checkpoint_too_a_lost_set_is_distilled_from_the_start(
    finished_copy: Plan, reference: Plan
) -> None:
    method = finished_copy.directory.method("mtt")
    method.synthetic.unlink()
    method.checkpoint.unlink()
    run_all(finished_copy, SerialExecutor(Recorder()), Recorder())
    assert artefacts(finished_copy.directory.path) == artefacts(reference.directory.path)


def test_two_runs_are_the_same_bytes_rows_included(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    other = serial_run(tiny(), tmp_path)
    assert artefacts(tmp_path) == artefacts(reference.directory.path)
    assert documents.content(other.directory.results) == documents.content(reference.directory.results)


def test_another_seed_is_another_run(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    other = serial_run(tiny(seed=1, run__methods="ast", run__baselines="random"), tmp_path)
    one, two = other.buffer("ast"), reference.buffer("ast")
    assert one.fingerprint != two.fingerprint
    assert one.segment(0, 0, 0)[0].tolist() != two.segment(0, 0, 0)[0].tolist()


def test_mtt_beside_ast_is_plain_and_does_not_change_it(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    alone = serial_run(tiny(run__methods="ast", run__baselines="random"), tmp_path)
    for name in ("synthetic", "last", "initial"):
        ours, both = (load_synthetic(getattr(plan.directory.method("ast"), name)) for plan in (alone, reference))
        assert torch.equal(ours.images, both.images)
        assert ours.student_lr == both.student_lr
    rows = {row["set"] for row in documents.content(alone.directory.results)["rows"]}
    assert rows == {"random", "ast"}
    mtt = reference.method("mtt")
    assert (mtt.distill.rho, mtt.distill.beta_strategy, mtt.distill.balanced_inner_loss) == (0.0, "final", False)
    assert (mtt.expert.penalty_weight, mtt.expert.clip_schedule) == (0.0, "constant")


def test_methods_with_the_same_experts_share_them(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = tiny(
        expert__momentum=0.0,
        expert__weight_decay=0.0,
        expert__lr_decay_epoch=0,
        expert__clip_schedule="constant",
        expert__penalty_weight=0.0,
    )
    plan = tiny_plan(same, tmp_path)
    assert plan.buffer("ast").folder == plan.buffer("mtt").folder
    trained: list[str] = []
    real = pipeline.train_experts

    def note(job: ExpertJob, sink: ProgressSink) -> str:
        trained.append(job.buffer.path(job.ids[0]).name)
        return real(job, sink)

    monkeypatch.setattr(pipeline, "train_experts", note)
    pipeline.train_buffers(plan, ["ast", "mtt"], SerialExecutor(Recorder()))
    assert trained == ["expert-00000.parquet", "expert-00001.parquet"]


def test_a_store_folder_is_shared_by_runs(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(compute__store=str(tmp_path / "store"), run__methods="ast", run__baselines="random")
    one = serial_run(config, tmp_path / "one")
    assert one.buffer("ast").folder.parent == tmp_path / "store"
    assert not one.directory.experts.exists()
    forbid(monkeypatch, "train_experts")
    two = serial_run(config, tmp_path / "two")
    assert two.directory.method("ast").last.read_bytes() == one.directory.method("ast").last.read_bytes()


def test_one_failing_expert_does_not_stop_the_others(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ast_ray.stages.experts import train as experts

    real = experts.train_expert

    def first_fails(*args: object, expert_id: int, **named: object) -> object:
        if expert_id == 0:
            raise DivergenceError("expert 0 diverged")
        return real(*args, expert_id=expert_id, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(experts, "train_expert", first_fails)
    plan = tiny_plan(tiny(expert__count=3), tmp_path)
    with pytest.raises(DivergenceError) as caught:
        pipeline.train_and_distill(plan, ["ast", "mtt"], ["ast", "mtt"], SerialExecutor(Recorder()))
    assert caught.value.__notes__ == ["2 of 6 jobs failed; first: ast expert 0. What finished is kept."]
    assert plan.buffer("ast").missing() == [0]
    assert plan.buffer("mtt").missing() == [0]
    kept = plan.buffer("ast").path(2).stat().st_mtime_ns
    monkeypatch.setattr(experts, "train_expert", real)
    run_all(plan, SerialExecutor(Recorder()), Recorder())
    assert plan.buffer("ast").path(2).stat().st_mtime_ns == kept
    assert plan.directory.results.exists()


def test_another_buffer_handed_over_is_refused(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    plan = tiny_plan(tiny(expert__lr=0.02), tmp_path, buffer=reference.buffer("ast").folder)
    with pytest.raises(StoreError, match=r"expert\.lr: 0\.02 here, 0\.01 there"):
        run_all(plan, SerialExecutor(Recorder()), Recorder())


def test_what_a_run_evaluates(tiny: Callable[..., Config], tmp_path: Path) -> None:
    plan = tiny_plan(tiny(run__baselines="full,random", evaluate__networks=3, evaluate__full_networks=1), tmp_path)
    found = [job.key for job in evaluation_jobs(plan)]
    assert found == [f"evaluate {name} {index}" for name in ("random", "mtt", "ast") for index in range(3)] + [
        "evaluate full 0"
    ]


def test_the_row_of_a_baseline_is_not_stale_when_only_more_networks_are_asked_for(
    tiny: Callable[..., Config], finished_copy: Plan
) -> None:
    more = tiny_plan(tiny(evaluate__networks=3, evaluate__full_networks=2), finished_copy.directory.path)
    fewer = {(job.key): job.token for job in evaluation_jobs(finished_copy)}
    tokens = {(job.key): job.token for job in evaluation_jobs(more)}
    assert {key: tokens[key] for key in fewer} == fewer
    changed = tiny_plan(tiny(evaluate__passes=6), finished_copy.directory.path)
    assert not set(fewer.values()) & {job.token for job in evaluation_jobs(changed)}


@pytest.mark.parametrize(
    ("methods", "baselines", "expected"),
    [
        ("ast,mtt", "none", ["ast", "mtt"]),
        ("mtt", "random", ["mtt"]),
        ("none", "representative", ["ast"]),
        ("none", "random", []),
    ],
)
def test_whose_experts_a_run_needs(
    tiny: Callable[..., Config], methods: str, baselines: str, expected: list[str]
) -> None:
    assert expert_methods(tiny(run__methods=methods, run__baselines=baselines)) == expected


def test_baselines_alone(tiny: Callable[..., Config], tmp_path: Path) -> None:
    plan = serial_run(tiny(run__methods="none", run__baselines="random"), tmp_path)
    results = documents.content(plan.directory.results)
    assert results["experts"] == {}
    assert [row["set"] for row in results["rows"]] == ["random"]


def test_outcomes_say_where_the_sets_are(reference: Plan) -> None:
    outcomes = distill_outcomes(reference, ["ast", "mtt"])
    assert outcomes["mtt"]["path"] == str(reference.directory.method("mtt").synthetic)
    assert outcomes["ast"]["iterations"] == 6


def test_a_method_is_distilled_as_soon_as_its_own_experts_are_complete(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first method's distillation goes before the second one's experts; an expert that fails keeps back its own."""
    done: list[str] = []
    real_train, real_distill = pipeline.train_experts, pipeline.distill

    def train(job: ExpertJob, sink: ProgressSink) -> str:
        if job.key == failing:
            raise DivergenceError("this expert diverged")
        done.append(job.key)
        return real_train(job, sink)

    def distilled(job: DistillJob, sink: ProgressSink, team: Team) -> dict[str, object]:
        done.append(job.key)
        return real_distill(job, sink, team)

    monkeypatch.setattr(pipeline, "train_experts", train)
    monkeypatch.setattr(pipeline, "distill", distilled)
    failing = "ast expert 1"
    plan = tiny_plan(reference.config, tmp_path)
    with pytest.raises(DivergenceError) as caught:
        pipeline.train_and_distill(plan, ["ast", "mtt"], ["ast", "mtt"], SerialExecutor(Recorder()))
    assert done == ["ast expert 0", "mtt expert 0", "mtt expert 1", "distill mtt"]
    assert "1 of 5 jobs failed" in caught.value.__notes__[0]
    done.clear()
    failing = ""
    pipeline.train_and_distill(plan, ["ast", "mtt"], ["ast", "mtt"], SerialExecutor(Recorder()))
    assert done == ["ast expert 1", "distill ast"]
    assert_same(tmp_path, reference.directory.path)
