"""A method that fails is a row with its reason; the rest of the run is finished, and nothing is tried twice in vain."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ast_ray.config import Config
from ast_ray.errors import AstRayError, DivergenceError, ResourceError, StoreError, TaskError
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.distillation.team import Team
from ast_ray.stages.evaluation import validation
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.experts import train as experts
from ast_ray.stages.experts.train import ExpertJob
from ast_ray.stages.run import pipeline
from ast_ray.stages.run.failures import Failures
from ast_ray.stages.run.pipeline import Plan, open_failures, run_all
from ast_ray.telemetry.failure import read_failure
from ast_ray.telemetry.progress import ProgressSink
from tests import documents
from tests.tiny import Recorder, artefacts, assert_same, tiny_plan

DIVERGED = DivergenceError(
    "mtt: distillation stopped at iteration 2: alpha would become -0.003; lower distill.lr_lr",
    reason="alpha would become -0.003",
    advice="lower distill.lr_lr",
    iteration=2,
)
Break = Callable[..., list[str]]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Let the distillation of one method raise an error; the methods that are tried are listed."""

    def make(method: str, error: AstRayError | None) -> list[str]:
        tried: list[str] = []

        def work(job: DistillJob, sink: ProgressSink, team: Team) -> dict[str, Any]:
            tried.append(job.method)
            if job.method == method and error is not None:
                raise error
            return distill(job, sink, team)

        monkeypatch.setattr(pipeline, "distill", work)
        return tried

    return make


def run(plan: Plan) -> tuple[dict[str, Any], Recorder]:
    sink = Recorder()
    return run_all(plan, SerialExecutor(sink), sink), sink


def sets(results: dict[str, Any]) -> list[str]:
    return [row["set"] for row in results["rows"]]


def test_a_method_that_diverges_is_listed_and_everything_else_is_in_the_table(
    tiny: Callable[..., Config], broken: Break, reference: Plan, tmp_path: Path
) -> None:
    broken("mtt", DIVERGED)
    plan = tiny_plan(tiny(), tmp_path)
    results, _ = run(plan)
    assert sets(results) == ["random", "representative", "ast", "full"]
    assert results["rows"][2] == documents.content(reference.directory.results)["rows"][3]
    (failed,) = results["failed"]
    assert (failed["set"], failed["stage"], failed["iteration"], failed["lasting"]) == ("mtt", "distillation", 2, True)
    assert (failed["reason"], failed["advice"]) == ("alpha would become -0.003", "lower distill.lr_lr")
    assert documents.content(plan.directory.results) == results
    assert results["experts"].keys() == {"ast", "mtt"}


def test_it_is_told_when_it_happens_and_its_bar_is_ended(
    tiny: Callable[..., Config], broken: Break, tmp_path: Path
) -> None:
    broken("ast", DIVERGED)  # the first to be distilled
    seen: list[str] = []

    class Watching(Recorder):
        def say(self, message: str) -> None:
            seen.append(f"said {message}")

        def update(self, update: Any) -> None:
            seen.append(f"{update.key}{' failed' if update.failed else ''}")

    sink = Watching()
    run_all(tiny_plan(tiny(), tmp_path), SerialExecutor(sink), sink)
    told = seen.index("said ast: failed, iteration 2: alpha would become -0.003; lower distill.lr_lr. The rest goes on")
    assert seen.index("distill ast failed") < told < seen.index("distill mtt") < seen.index("evaluate")


def test_the_same_settings_are_not_tried_again_and_the_reason_is_told_at_once(
    tiny: Callable[..., Config], broken: Break, tmp_path: Path
) -> None:
    broken("mtt", DIVERGED)
    plan = tiny_plan(tiny(), tmp_path)
    first, _ = run(plan)
    tried = broken("mtt", DIVERGED)
    again, sink = run(plan)
    assert tried == []
    assert again == first
    record = plan.directory.method("mtt").failure
    assert sink.messages == [
        "mtt: failed, iteration 2: alpha would become -0.003. The same settings fail in the same way, so it is not "
        f"tried again; lower distill.lr_lr (or delete {record} to try it all the same)"
    ]
    record.unlink()
    tried = broken("mtt", None)
    last, _ = run(plan)
    assert tried == ["mtt"]
    assert last["failed"] == []


def test_a_record_of_another_version_does_not_hold(tiny: Callable[..., Config], broken: Break, tmp_path: Path) -> None:
    broken("mtt", DIVERGED)
    plan = tiny_plan(tiny(), tmp_path)
    run(plan)
    record = plan.directory.method("mtt").failure
    found = documents.content(record)
    found["made_with"]["versions"]["ast-ray"] = "0.0.1"
    record.write_text(json.dumps(found))
    assert run(plan)[0]["failed"] != []
    assert documents.content(record)["made_with"]["versions"]["ast-ray"] != "0.0.1"


@pytest.mark.parametrize(
    "error",
    [
        TaskError("distill mtt: its worker was lost 3 times", reason="its worker was lost 3 times"),
        StoreError("damaged"),
    ],
)
def test_what_may_go_well_the_next_time_is_tried_again(
    tiny: Callable[..., Config], broken: Break, reference: Plan, tmp_path: Path, error: AstRayError
) -> None:
    broken("mtt", error)
    plan = tiny_plan(tiny(), tmp_path)
    results, _ = run(plan)
    assert [(row["set"], row["lasting"], row["reason"]) for row in results["failed"]] == [("mtt", False, error.reason)]
    broken("mtt", None)
    results, _ = run(plan)
    assert results["failed"] == []
    assert read_failure(plan.directory.method("mtt")) is None
    assert_same(tmp_path, reference.directory.path)


def test_a_full_disk_ends_the_run_at_once(tiny: Callable[..., Config], broken: Break, tmp_path: Path) -> None:
    tried = broken("ast", ResourceError("cannot write: No space left on device"))
    with pytest.raises(ResourceError, match="No space left") as caught:
        run(tiny_plan(tiny(), tmp_path))
    assert tried == ["ast"], "MTT was not tried on a full disk"
    assert caught.value.__notes__ == [
        "distill ast failed. What finished is kept; the same command goes on once this is mended."
    ]
    assert not (tmp_path / "results.json").exists()
    assert read_failure(tiny_plan(tiny(), tmp_path).directory.method("ast")) is None


def expert_fails(monkeypatch: pytest.MonkeyPatch, *wanted: str) -> list[str]:
    """Let experts diverge by key; list the keys of all that are trained."""
    trained: list[str] = []
    real = experts.train_experts

    def train(job: ExpertJob, sink: ProgressSink) -> str:
        trained.append(job.key)
        if job.key in wanted:
            reason = f"expert {job.ids[0]} diverged"
            raise DivergenceError(f"{reason}; lower expert.lr", reason=reason, advice="lower expert.lr")
        return real(job, sink)

    monkeypatch.setattr(pipeline, "train_experts", train)
    return trained


def test_a_diverged_expert_costs_its_method_and_nothing_else(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert_fails(monkeypatch, "mtt expert 0", "mtt expert 2")
    plan = tiny_plan(tiny(expert__count=3), tmp_path)
    results, sink = run(plan)
    assert sets(results) == ["random", "representative", "ast", "full"]
    (failed,) = results["failed"]
    assert (failed["set"], failed["stage"], failed["numbers"], failed["count"]) == ("mtt", "experts", [0, 2], 3)
    assert plan.buffer("mtt").missing() == [0, 2]
    assert sum("mtt: failed, experts: expert 0 diverged; lower expert.lr" in text for text in sink.messages) == 1
    trained = expert_fails(monkeypatch)
    again, sink = run(plan)
    assert trained == []
    assert again["failed"] == results["failed"]
    assert "2 of 3 experts" in sink.messages[0]
    fewer = tiny_plan(tiny(expert__count=1), tmp_path)
    assert open_failures(fewer, Recorder(), ["ast", "mtt"]).failed_experts("mtt") == (0, 2)
    plan.buffer("mtt").path(1).rename(fewer.buffer("mtt").path(0))  # as if another run had trained it in a shared store
    assert open_failures(fewer, Recorder(), ["ast", "mtt"]).rows() == []


def test_real_images_chosen_with_an_expert_that_diverged_fail_with_its_reason(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert_fails(monkeypatch, "ast expert 0")
    results, _ = run(tiny_plan(tiny(), tmp_path))
    assert sets(results) == ["random", "mtt", "full"]
    assert [(row["set"], row["stage"], row["reason"]) for row in results["failed"]] == [
        ("representative", "experts", "expert 0 diverged"),
        ("ast", "experts", "expert 0 diverged"),
    ]


def test_methods_that_share_experts_fail_together(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {
        "momentum": 0.0,
        "weight_decay": 0.0,
        "lr_decay_epoch": 0,
        "clip_schedule": "constant",
        "penalty_weight": 0.0,
    }
    settings = {f"expert__{name}": value for name, value in same.items()}
    expert_fails(monkeypatch, "ast expert 1")
    both = tiny_plan(tiny(**settings), tmp_path)
    results, _ = run(both)
    assert [row["set"] for row in results["failed"]] == ["mtt", "ast"]
    both.directory.method("mtt").failure.unlink()
    trained = expert_fails(monkeypatch)
    results, _ = run(both)
    assert [row["set"] for row in results["failed"]] == ["mtt", "ast"]
    assert trained == []


def networks_fail(monkeypatch: pytest.MonkeyPatch, *numbers: int, name: str = "full") -> list[int]:
    """Let networks on a set diverge by number; list those that are trained."""
    real, trained = validation.train_fresh, []

    def train(*given: Any, indices: Sequence[int], **named: Any) -> Any:
        found = real(*given, indices=indices, **named)
        if named["role"] != f"evaluate {name}":
            return found
        trained.extend(indices)
        losses = [math.nan if index in numbers else loss for index, (_, loss) in zip(indices, found, strict=True)]
        return [(network, loss) for (network, _), loss in zip(found, losses, strict=True)]

    monkeypatch.setattr("ast_ray.stages.evaluation.evaluate.train_fresh", train)
    return trained


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize(("numbers", "n"), [((1,), 1), ((0, 1), 0)])
def test_a_network_that_diverges_is_listed_and_not_trained_again(
    tiny: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    numbers: Sequence[int],
    n: int,
    together: int,
) -> None:
    networks_fail(monkeypatch, *numbers)
    config = tiny(run__methods="none", run__baselines="random,full", compute__networks_together=together)
    plan = tiny_plan(config, tmp_path)
    results, sink = run(plan)
    assert [(row["set"], row["n"]) for row in results["rows"]] == [("random", 2), ("full", n)][: 1 + bool(n)]
    (failed,) = results["failed"]
    assert (failed["set"], failed["numbers"], failed["count"]) == ("full", list(numbers), 2)
    assert failed["advice"] == "lower evaluate.real_lr"
    assert sink.updates[-1].done == sink.updates[-1].total == 4, "the bar ends"
    trained = networks_fail(monkeypatch)
    again, sink = run(plan)
    assert trained == []
    assert again == results
    assert f"full: failed, {len(numbers)} of 2 convnet networks" in sink.messages[0]
    others = plan.directory.row("full", "convnet", "strict", 0).read_bytes()
    plan.directory.row("full", "convnet", "strict", 1).unlink()
    run(plan)
    assert trained == ([1] if together == 1 else [0, 1]), "a group is trained whole"
    assert plan.directory.row("full", "convnet", "strict", 0).read_bytes() == others


def test_a_set_that_no_network_learns_from_may_be_distilled_again_with_other_settings(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks_fail(monkeypatch, 0, 1, name="mtt")
    results, _ = run(tiny_plan(tiny(run__mtt_settings="distill.syn_steps=4"), tmp_path))
    assert [(row["set"], row["stage"], row["numbers"]) for row in results["failed"]] == [("mtt", "evaluation", [0, 1])]
    before = artefacts(tmp_path)
    networks_fail(monkeypatch)
    repaired = tiny_plan(tiny(), tmp_path)
    open_failures(repaired, Recorder(), ["mtt"])
    assert not repaired.directory.method("mtt").outcome.exists(), "a kill from here on leaves a method that has begun"
    results, _ = run(repaired)
    assert results["failed"] == []
    assert sets(results) == ["random", "representative", "mtt", "ast", "full"]
    after = artefacts(tmp_path)
    assert {name for name in before if before[name] != after[name]} >= {"distill/mtt/outcome.json"}
    assert not any(before[name] != after[name] for name in before if "distill/mtt" not in name)


def test_commands_for_experts_leave_what_distillation_failed_at_alone(
    tiny: Callable[..., Config], broken: Break, tmp_path: Path
) -> None:
    broken("mtt", DIVERGED)
    plan = tiny_plan(tiny(), tmp_path)
    run(plan)
    sink = Recorder()
    assert open_failures(plan, sink).rows() == []
    assert sink.messages == []
    assert read_failure(plan.directory.method("mtt")) is not None


def test_without_methods_there_is_nothing_to_take_up() -> None:
    failures = Failures({}, Recorder())
    failures.take_up(())
    assert failures.rows() == []
