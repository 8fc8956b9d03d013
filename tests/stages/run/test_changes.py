"""What may change between two commands for one run directory, and what is refused with the values on both sides."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ast_ray.config import Config, load_yaml
from ast_ray.errors import DivergenceError, StoreError
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.distillation.team import Team
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run import pipeline
from ast_ray.stages.run.open import check_run, record_run
from ast_ray.stages.run.pipeline import Plan, distill_methods, run_all
from ast_ray.telemetry.progress import ProgressSink
from tests import documents
from tests.tiny import Recorder, artefacts, tiny_plan

Make = Callable[..., Config]


def command(plan: Plan) -> dict[str, Any]:
    """What a command does, without the command line."""
    check_run(plan)
    record_run(plan, ["ast-ray", "run"])
    return run_all(plan, SerialExecutor(Recorder()), Recorder())


def refused(plan: Plan) -> list[str]:
    before = {file: file.read_bytes() for file in plan.directory.path.rglob("*") if file.is_file()}
    with pytest.raises(StoreError, match="holds a run with other settings") as caught:
        check_run(plan)
    assert {file: file.read_bytes() for file in plan.directory.path.rglob("*") if file.is_file()} == before
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.fixture
def finished(tiny: Make, reference: Plan, tmp_path: Path) -> Path:
    """A copy of a finished run with its settings."""
    shutil.copytree(reference.directory.path, tmp_path / "run")
    record_run(tiny_plan(tiny(), tmp_path / "run"), ["ast-ray", "run"])
    return tmp_path / "run"


@pytest.fixture
def mtt_diverges(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let MTT's distillation diverge after its first checkpoint; called, it is as it was."""

    def work(job: DistillJob, sink: ProgressSink, team: Team) -> dict[str, Any]:
        if job.method == "mtt":
            job.directory.path.mkdir(parents=True, exist_ok=True)
            raise DivergenceError("alpha would become -0.003", advice="lower it", iteration=2)
        return distill(job, sink, team)

    monkeypatch.setattr(pipeline, "distill", work)
    return lambda: monkeypatch.setattr(pipeline, "distill", distill)


def test_where_it_runs_may_change(tiny: Make, finished: Path) -> None:
    check_run(tiny_plan(tiny(compute__backend="ray", compute__workers=7, data__download="false"), finished))


def test_images_that_changed_since_are_refused_and_nothing_finished_is_touched(tiny: Make, finished: Path) -> None:
    """A folder of images that was added to goes by the same name and settings, and is another data set."""
    plan = tiny_plan(tiny(), finished)
    other = dataclasses.replace(plan, data=dataclasses.replace(plan.data, data_id="0123456789abcdef"))
    told = refused(other)
    assert told[0].startswith(f"data.id: 0123456789abcdef here, {plan.data.data_id} there (the whole run, ")
    assert told[1:] == []
    with pytest.raises(StoreError) as caught:
        check_run(other)
    assert any("added, removed or changed" in note for note in caught.value.__notes__)
    check_run(plan)


def test_images_may_change_where_nothing_was_made_of_them(tiny: Make, tmp_path: Path) -> None:
    plan = tiny_plan(tiny(), tmp_path / "run")
    record_run(plan, ["ast-ray", "run"])
    check_run(dataclasses.replace(plan, data=dataclasses.replace(plan.data, data_id="0123456789abcdef")))


def test_a_repaired_setting_of_one_method_keeps_what_the_other_has(
    tiny: Make, mtt_diverges: Callable[[], None], tmp_path: Path
) -> None:
    results = command(tiny_plan(tiny(), tmp_path))
    assert [row["set"] for row in results["failed"]] == ["mtt"]
    before = {name: (tmp_path / name).stat().st_ino for name in artefacts(tmp_path) if "distill/mtt" not in name}
    assert any("distill/ast/synthetic" in name for name in before)
    mtt_diverges()
    repaired = tiny_plan(tiny(run__mtt_settings="distill.student_lr=0.02"), tmp_path)
    results = command(repaired)
    assert results["failed"] == []
    assert [row["set"] for row in results["rows"]] == ["random", "representative", "mtt", "ast", "full"]
    assert {name: (tmp_path / name).stat().st_ino for name in before} == before
    assert documents.content(repaired.directory.method("mtt").outcome)["fingerprint"]
    assert load_yaml(repaired.directory.config) == repaired.config
    manifest = documents.content(repaired.directory.manifest)
    assert len(manifest["commands"]) == 2
    assert [entry["settings"]["run"]["mtt_settings"] for entry in manifest["earlier"]] == [[]]


def test_settings_that_the_finished_method_shares_are_refused_and_those_it_switches_off_are_not(
    tiny: Make, mtt_diverges: Callable[[], None], tmp_path: Path
) -> None:
    command(tiny_plan(tiny(), tmp_path))
    assert refused(tiny_plan(tiny(distill__syn_steps=4), tmp_path)) == [
        "distill.syn_steps: 4 here, 3 there (ast is finished)"
    ]
    check_run(tiny_plan(tiny(distill__syn_steps=4, run__methods="mtt"), tmp_path))
    check_run(tiny_plan(tiny(run__mtt_settings="distill.syn_steps=4"), tmp_path))
    check_run(tiny_plan(tiny(run__methods="ast"), tmp_path))


def test_a_failed_method_is_begun_anew_from_no_checkpoint_of_other_settings(tiny: Make, tmp_path: Path) -> None:
    """SGD with a rate that makes alpha negative in a later iteration leaves a checkpoint, metrics and pictures."""
    steep = "distill.outer=sgd,distill.lr_img=1,distill.lr_lr={},distill.student_lr=0.01"
    plan = tiny_plan(tiny(run__mtt_settings=steep.format(1000)), tmp_path)
    results = command(plan)
    assert [row["set"] for row in results["failed"]] == ["mtt"]
    place = plan.directory.method("mtt")
    assert place.checkpoint.exists()
    repaired = tiny_plan(tiny(run__mtt_settings=steep.format("1e-6")), tmp_path)
    assert command(repaired)["failed"] == []
    rows = [json.loads(line)["iteration"] for line in place.metrics.read_text().splitlines()]
    assert rows == [1, 2, 3, 4, 5, 6]
    alone = tiny_plan(repaired.config, tmp_path / "alone")
    assert command(alone)["rows"] == documents.content(repaired.directory.results)["rows"]
    assert alone.directory.method("mtt").last.read_bytes() == place.last.read_bytes()
    events = list((tmp_path / "tensorboard" / "distill" / "mtt").glob("events.*"))
    assert len(events) == 1


def test_experts_of_a_failed_method_may_be_others_and_chosen_images_follow(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ast_fails(job: DistillJob, sink: ProgressSink, team: Team) -> dict[str, Any]:
        if job.method == "ast":
            raise DivergenceError("no")
        return distill(job, sink, team)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "distill", ast_fails)
        first = command(tiny_plan(tiny(), tmp_path))
    kept = (tmp_path / "distill" / "mtt" / "synthetic.safetensors").stat().st_ino
    row = tmp_path / "evaluation" / "random-convnet-strict-0.json"
    rows = row.stat().st_ino
    repaired = tiny_plan(tiny(expert__penalty_weight=0.5), tmp_path)
    results = command(repaired)
    assert results["failed"] == []
    assert (tmp_path / "distill" / "mtt" / "synthetic.safetensors").stat().st_ino == kept
    assert row.stat().st_ino == rows
    new = {entry["set"]: entry for entry in results["rows"]}
    old = {entry["set"]: entry for entry in first["rows"]}
    assert new["mtt"] == old["mtt"]
    assert new["representative"]["n"] == 2
    assert len(list((tmp_path / "experts").iterdir())) == 3


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        ({"seed": 1, "run__methods": "none", "run__baselines": "random"}, ["seed: 1 here, 0 there"]),
        ({"data__train_size": 90}, ["data.train_size: 90 here, 100 there"]),
        ({"network__width": 8}, ["network.width: 8 here, 4 there"]),
    ],
)
def test_seed_data_and_network_are_those_of_the_whole_run(
    tiny: Make, finished: Path, overrides: dict[str, object], lines: list[str]
) -> None:
    found = refused(tiny_plan(tiny(**overrides), finished))
    assert [line.partition(" (")[0] for line in found] == lines
    assert all("the whole run" in line for line in found)


def without(path: Path, *names: str) -> None:
    """Take settings out of a config.yaml, as if it had been written before they existed."""
    values = yaml.safe_load(path.read_text())
    for name in names:
        section, _, key = name.partition(".")
        del values[section][key]
    path.write_text(yaml.safe_dump(values))


def test_settings_that_came_later_are_taken_as_what_meant_the_same(tiny: Make, finished: Path) -> None:
    later = ("network.norm", "data.skip_corrupt", "distill.segments", "evaluate.full_steps")
    without(finished / "config.yaml", *later)
    plan = tiny_plan(tiny(), finished)
    check_run(plan)
    record_run(plan, ["ast-ray", "run"])
    assert "earlier" not in documents.content(plan.directory.manifest)


def test_a_setting_that_came_later_and_differs_is_refused_with_what_its_absence_meant(
    tiny: Make, finished: Path
) -> None:
    without(finished / "config.yaml", "network.norm")
    plan = tiny_plan(tiny(network__norm="none"), finished)
    assert "network.norm: none here, default there (the whole run)" in refused(plan)
    with pytest.raises(StoreError) as caught:
        check_run(plan)
    assert (
        "config.yaml there is of an earlier version; what it lacks is shown as what meant the same: network.norm"
        in (" ".join(caught.value.__notes__))
    )


def test_a_published_update_is_what_a_run_from_before_there_was_a_choice_had(tiny: Make, tmp_path: Path) -> None:
    sgd = {"distill__outer": "sgd", "distill__student_lr": 0.01, "run__methods": "ast"}
    command(tiny_plan(tiny(**sgd), tmp_path))
    without(tmp_path / "config.yaml", "distill.outer", "distill.step_img", "distill.step_lr")
    check_run(tiny_plan(tiny(**sgd), tmp_path))
    lines = refused(tiny_plan(tiny(**{**sgd, "distill__outer": "normalized"}), tmp_path))
    assert "distill.outer: normalized here, sgd there (ast is finished)" in lines


def test_a_directory_with_nothing_in_it_takes_any_settings(tiny: Make, tmp_path: Path) -> None:
    record_run(tiny_plan(tiny(), tmp_path), [])
    check_run(tiny_plan(tiny(seed=1, expert__count=3, network__width=8, distill__ipc=2), tmp_path))


def test_more_and_fewer_methods_baselines_networks_and_experts_of_what_is_to_come(tiny: Make, finished: Path) -> None:
    for overrides in (
        {"run__methods": "mtt"},
        {"run__baselines": "random,herding"},
        {"evaluate__networks": 3},
        {"evaluate__protocols": "strict,peak"},
        {"distill__log_every": 2},
    ):
        check_run(tiny_plan(tiny(**overrides), finished))
    assert refused(tiny_plan(tiny(expert__count=3), finished)) == [
        "expert.count: 3 here, 2 there (ast is finished, mtt is finished)"
    ]


def test_fewer_methods_leave_the_rest_of_the_table_as_it_is(tiny: Make, finished: Path) -> None:
    before = documents.content(finished / "results.json")["rows"]
    results = command(tiny_plan(tiny(run__methods="ast"), finished))
    assert results["rows"] == [row for row in before if row["set"] != "mtt"]
    assert command(tiny_plan(tiny(), finished))["rows"] == before


def test_rows_under_another_protocol_are_refused(tiny: Make, finished: Path) -> None:
    found = refused(tiny_plan(tiny(evaluate__real_lr=0.02), finished))
    assert len(found) == 1
    assert found[0].startswith("evaluate.real_lr: 0.02 here, 0.01 there (rows of random")
    baselines = tiny(evaluate__real_lr=0.02, run__methods="none", run__baselines="herding")
    check_run(tiny_plan(baselines, finished))


def test_chosen_images_keep_their_expert_where_no_method_asks_for_others(tiny: Make, finished: Path) -> None:
    settings = {"run__methods": "none", "run__baselines": "representative", "expert__lr": 0.02}
    assert refused(tiny_plan(tiny(**settings), finished)) == [
        "expert.lr: 0.02 here, 0.01 there (rows of representative)"
    ]


def test_what_was_made_under_settings_before_the_last_ones_is_refused_too(tiny: Make, finished: Path) -> None:
    """The second command asks for nothing that is there, the third for all of it, with the second one's settings."""
    other = {"evaluate__real_lr": 0.02, "distill__syn_steps": 4}
    nothing = tiny_plan(tiny(**other, run__methods="none", run__baselines="herding"), finished)
    check_run(nothing)
    record_run(nothing, [])
    found = refused(tiny_plan(tiny(**other), finished))
    assert "distill.syn_steps: 4 here, 3 there (ast is finished, mtt is finished)" in found
    assert any(line.startswith("evaluate.real_lr: 0.02 here, 0.01 there (rows of random") for line in found)
    check_run(tiny_plan(tiny(), finished))


def test_what_is_begun_and_experts_that_are_there_are_not_thrown_away(
    tiny: Make, reference: Plan, tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    class Stopping(Recorder):
        def update(self, update: Any) -> None:
            if update.key == "distill ast" and update.done == 5:
                raise StopError

    plan = tiny_plan(tiny(), tmp_path)
    shutil.copytree(reference.directory.experts, plan.directory.experts)
    record_run(plan, [])
    assert refused(tiny_plan(tiny(expert__lr=0.02), tmp_path)) == ["expert.lr: 0.02 here, 0.01 there (ast has experts)"]
    check_run(tiny_plan(tiny(distill__syn_steps=4, expert__count=3), tmp_path))
    with pytest.raises(StopError):
        distill_methods(plan, ["ast"], SerialExecutor(Stopping()))
    assert refused(tiny_plan(tiny(distill__syn_steps=4), tmp_path)) == [
        "distill.syn_steps: 4 here, 3 there (ast is begun)"
    ]


def test_settings_of_another_version_are_compared_as_they_stand(tiny: Make, finished: Path) -> None:
    config = finished / "config.yaml"
    values = yaml.safe_load(config.read_text())
    values["distill"]["gone"] = 3
    config.write_text(yaml.safe_dump(values))
    assert refused(tiny_plan(tiny(), finished)) == [
        "distill.gone: absent here, 3 there (written by another version, whose settings this one does not know)"
    ]
    del values["distill"]["gone"], values["run"]["mtt_settings"]
    config.write_text(yaml.safe_dump(values))
    check_run(tiny_plan(tiny(), finished))


def test_settings_that_cannot_be_read_are_named(tiny: Make, finished: Path) -> None:
    (finished / "config.yaml").write_text("[1, 2")
    with pytest.raises(StoreError, match=r"config\.yaml: cannot be read"):
        check_run(tiny_plan(tiny(), finished))
