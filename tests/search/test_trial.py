from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ast_ray.config import Config
from ast_ray.errors import ConfigError
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.open import with_shared_experts
from ast_ray.search.record import Rung, TrialRecord, read_records, stop_record
from ast_ray.search.trial import (
    ExpertCost,
    Trial,
    canonicalize,
    expert_costs,
    plan_trial,
    run_trial,
    train_missing,
    trial_budget,
)
from tests.tiny import Recorder

Make = Callable[..., Config]
DATA = "digits"


@pytest.fixture
def base(tiny: Make) -> Config:
    """Six iterations, a report every two."""
    return tiny(tune__budget=6, tune__grace=2, tune__report_every=2)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experts trained once for the module."""
    return tmp_path_factory.mktemp("search") / "experts"


def trial(base: Config, path: Path, experts: Path, **overrides: object) -> Trial:
    path.mkdir(parents=True, exist_ok=True)
    experts.mkdir(parents=True, exist_ok=True)
    if not (path / "experts").exists():
        (path / "experts").symlink_to(experts)
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return plan_trial(base, named, DATA, SearchDirectory(path))


def run(item: Trial) -> list[Rung]:
    return list(run_trial(item, train_missing, Recorder()))


def must_not_train(item: Trial, sink: object, cost: ExpertCost) -> None:
    raise AssertionError("asked for experts")


def results(item: Trial) -> dict[str, bytes]:
    names = ("synthetic.safetensors", "last.safetensors", "metrics.jsonl", "outcome.json")
    return {name: (item.directory.path / name).read_bytes() for name in names}


def test_a_trial_reports_every_rung_and_ends_finished(base: Config, tmp_path: Path, experts: Path) -> None:
    item = trial(base, tmp_path, experts, distill__rho=0.02)
    rungs = run(item)
    assert [rung.iteration for rung in rungs] == [2, 4, 6]
    assert [rung.status for rung in rungs] == ["running", "running", "finished"]
    best = [max(rung.validation_accuracy for rung in rungs[: number + 1]) for number in range(3)]
    assert [rung.best_validation_accuracy for rung in rungs] == best
    record = TrialRecord.read(item.directory)
    assert record is not None
    assert record.overrides == {"distill.rho": 0.02}
    assert record.seconds > record.expert_seconds >= 0


def test_the_same_trial_gives_the_same_bytes_wherever_it_lies(base: Config, tmp_path: Path, experts: Path) -> None:
    one, other = (trial(base, tmp_path / name, experts, distill__rho=0.02) for name in ("a", "b"))
    assert run(one) == run(other)
    assert results(one) == results(other)


def test_an_interrupted_trial_goes_on_and_ends_with_the_same_bytes(base: Config, tmp_path: Path, experts: Path) -> None:
    whole, cut = (trial(base, tmp_path / name, experts, distill__rho=0.02) for name in ("a", "b"))
    expected = run(whole)
    first = run_trial(cut, train_missing, Recorder())
    assert next(first) == expected[0]
    first.close()
    assert run(cut) == expected
    assert results(whole) == results(cut)


def test_a_rung_between_checkpoint_and_record_is_not_lost(base: Config, tmp_path: Path, experts: Path) -> None:
    item = trial(base, tmp_path, experts, distill__rho=0.02)
    first = run_trial(item, train_missing, Recorder())
    next(first)
    first.close()
    record = TrialRecord.read(item.directory)
    assert record is not None
    record.rungs = []
    record.save()
    assert [rung.iteration for rung in run(item)] == [2, 4, 6]


def test_an_ended_trial_is_replayed_without_work(base: Config, tmp_path: Path, experts: Path) -> None:
    item = trial(base, tmp_path, experts)
    expected = run(item)
    assert list(run_trial(item, must_not_train, Recorder())) == expected


def test_a_stopped_trial_stays_stopped(base: Config, tmp_path: Path, experts: Path) -> None:
    item = trial(base, tmp_path, experts)
    first = run_trial(item, train_missing, Recorder())
    next(first)
    first.close()
    stop_record(item.directory, "stopped", "by the scheduler")
    again = list(run_trial(item, must_not_train, Recorder()))
    assert [(rung.iteration, rung.status) for rung in again] == [(2, "stopped")]
    assert stop_record(item.directory, "failed", "late news").status == "stopped"  # type: ignore[union-attr]


def test_a_diverging_trial_is_recorded_and_counts_as_zero(base: Config, tmp_path: Path, experts: Path) -> None:
    item = trial(base, tmp_path, experts, distill__outer="sgd", distill__lr_lr=1e6)
    last = run(item)[-1]
    assert (last.status, last.validation_accuracy) == ("diverged", 0.0)
    record = TrialRecord.read(item.directory)
    assert record is not None
    assert "iteration" in record.reason
    assert record.objective("validation_accuracy") == 0.0


def test_an_invalid_combination_is_recorded_before_any_expert(base: Config, tmp_path: Path, experts: Path) -> None:
    item = trial(base, tmp_path, experts, distill__expert_epochs=9)
    (last,) = run_trial(item, must_not_train, Recorder())
    assert last.status == "invalid"
    record = TrialRecord.read(item.directory)
    assert record is not None
    assert "distill.max_start_epoch" in record.reason


def test_a_bug_ends_the_trial_with_its_trace(base: Config, tmp_path: Path, experts: Path) -> None:
    def broken(item: Trial, sink: object, cost: ExpertCost) -> None:
        raise ZeroDivisionError("oh")

    item = trial(base, tmp_path, experts)
    (last,) = run_trial(item, broken, Recorder())
    record = TrialRecord.read(item.directory)
    assert record is not None
    assert (last.status, record.reason) == ("failed", "ZeroDivisionError: oh")
    assert "broken" in record.trace


def test_trials_that_differ_in_distillation_share_their_experts(base: Config, tmp_path: Path) -> None:
    one = trial(base, tmp_path, tmp_path / "e", distill__rho=0.01)
    other = trial(base, tmp_path, tmp_path / "e", distill__rho=0.02)
    third = trial(base, tmp_path, tmp_path / "e", expert__penalty_weight=0.5)
    for item in (one, other, third):
        next(run_trial(item, train_missing, Recorder()))
    assert one.buffer.folder == other.buffer.folder != third.buffer.folder
    trained = [(row["buffer"], row["expert"]) for row in expert_costs(one.search)]
    assert sorted(trained) == sorted((item.buffer.folder.name, number) for item in (one, third) for number in (0, 1))


def test_search_settings_and_seeds_name_trials_as_they_should(base: Config, tmp_path: Path, experts: Path) -> None:
    item = trial(base, tmp_path, experts)
    more = dataclasses.replace(base, tune=dataclasses.replace(base.tune, trials=99, final_configs=1))
    assert trial(more, tmp_path, experts).name == item.name
    longer = dataclasses.replace(base, tune=dataclasses.replace(base.tune, budget=8))
    assert trial(longer, tmp_path, experts).name != item.name
    assert trial(dataclasses.replace(base, seed=1), tmp_path, experts).name != item.name


def test_a_constant_lambda_has_neither_start_nor_length(base: Config, tmp_path: Path, experts: Path) -> None:
    flat = {"expert.clip_schedule": "constant", "expert.clip_start": 0.3, "distill.rho": 0.1}
    assert canonicalize(flat, Config()) == {"expert.clip_schedule": "constant", "distill.rho": 0.1}
    one = plan_trial(base, flat, DATA, SearchDirectory(tmp_path))
    other = plan_trial(base, {**flat, "expert.clip_start": 0.7}, DATA, SearchDirectory(tmp_path))
    assert one.name == other.name


def test_budget_grace_and_reports_have_defaults(tiny: Make) -> None:
    assert trial_budget(tiny(distill__iterations=80)) == (80, 10, 10)
    assert trial_budget(tiny(distill__iterations=80, tune__budget=40, tune__grace=10)) == (40, 10, 10)


def test_unknown_overrides_are_refused(base: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distill\.rho"):
        plan_trial(base, {"distill.roh": 0.1}, DATA, SearchDirectory(tmp_path))


def test_records_are_read_in_the_order_trials_began(base: Config, tmp_path: Path, experts: Path) -> None:
    names = []
    for rho in (0.03, 0.01, 0.02):
        item = trial(base, tmp_path, experts, distill__rho=rho)
        TrialRecord.open(item.directory, item.name, item.overrides, "").save()
        names.append(rho)
    records = read_records(tmp_path / "trials")
    begun = [record.begun for record in records]
    assert begun == sorted(begun)
    assert sorted(record.overrides["distill.rho"] for record in records) == sorted(names)


def test_a_drawn_start_epoch_beyond_the_experts_is_the_largest_there_is(base: Config) -> None:
    epochs, ahead = base.expert.epochs, base.distill.expert_epochs
    assert canonicalize({"distill.max_start_epoch": 40}, base) == {"distill.max_start_epoch": epochs + 1 - ahead}
    assert canonicalize({"distill.max_start_epoch": 40, "expert.epochs": 50}, base)["distill.max_start_epoch"] == 40
    assert canonicalize({"distill.max_start_epoch": 1}, base) == {"distill.max_start_epoch": 1}
    none_left = {"distill.max_start_epoch": 5, "distill.expert_epochs": epochs + 1}
    assert canonicalize(none_left, base) == none_left, "what cannot be is told, not changed"


def test_a_space_that_draws_how_far_matching_reaches_shares_experts(base: Config) -> None:
    assert base.expert.reachable_only
    assert with_shared_experts(base, ["distill.rho"]) == base
    for name in ("distill.max_start_epoch", "distill.expert_epochs"):
        assert not with_shared_experts(base, [name]).expert.reachable_only


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "f92039415a5f651f"),
        ({"distill.rho": 0.02}, "6c875bdabc563feb"),
        ({"expert.clip_schedule": "constant", "expert.clip_start": 0.5}, "3de001ad9ebd010e"),
    ],
)
def test_trials_of_ast_keep_the_names_of_earlier_searches(
    tmp_path: Path, overrides: dict[str, object], name: str
) -> None:
    assert plan_trial(Config(), overrides, DATA, SearchDirectory(tmp_path)).name == name


def test_trials_of_a_method_without_experts_train_none_and_repeat_their_bytes(tiny: Make, tmp_path: Path) -> None:
    base = tiny(tune__method="dm", tune__budget=6, tune__grace=2, tune__report_every=2)
    names = set()
    for step in (0.01, 0.02, 0.05, 0.1):
        one, other = (
            plan_trial(base, {"distill.step_img": step}, DATA, SearchDirectory(tmp_path / name)) for name in ("a", "b")
        )
        names.add(one.name)
        rungs = list(run_trial(one, must_not_train, Recorder()))
        assert [rung.iteration for rung in rungs] == [2, 4, 6]
        assert rungs[-1].status == "finished"
        assert list(run_trial(other, must_not_train, Recorder())) == rungs
        assert list(run_trial(one, must_not_train, Recorder())) == rungs
        assert results(one) == results(other)
        record = TrialRecord.read(one.directory)
        assert record is not None
        assert record.experts == ""
        assert one.job.buffer is None
    assert len(names) == 4
