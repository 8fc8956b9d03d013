from __future__ import annotations

from pathlib import Path

import pytest
from ray import tune
from ray.tune.experiment import Experiment
from ray.tune.search.basic_variant import BasicVariantGenerator

from ast_ray.config import Config, apply_overrides
from ast_ray.config.presets import preset
from ast_ray.ray_backend.tune.algorithms import expected_trials, scheduler, searcher
from ast_ray.ray_backend.tune.sampling import SpaceSampler
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.record import Rung, TrialRecord

SPACE = {"distill.rho": tune.uniform(0.0, 0.1), "distill.beta_strategy": tune.choice(["equal", "final"])}


def digits(**tuning: object) -> Config:
    return apply_overrides(preset("digits"), {f"tune.{name}": value for name, value in tuning.items()})


def record(directory: SearchDirectory, name: str, rho: float, status: str) -> None:
    found = TrialRecord.open(directory.trial(name), name, {"distill.rho": rho, "distill.beta_strategy": "equal"}, "")
    found.rungs = [Rung(20, 0.5 + rho, 0.5 + rho, 0.9, 0.02)]
    found.status = status
    found.save()


def proposals(config: Config, path: Path, registered: str) -> list[dict[str, object]]:
    """What random search proposes, in order."""
    generator, space, count = searcher(config, SpaceSampler(SPACE, config), SearchDirectory(path), 0)
    assert isinstance(generator, BasicVariantGenerator)
    generator.add_configurations(Experiment(registered, run=registered, config=space, num_samples=count))
    found = []
    while (trial := generator.next_trial()) is not None:
        found.append(dict(trial.config))
    return found


def test_random_search_begins_with_the_preset_and_repeats_with_its_seed(tmp_path: Path) -> None:
    tune.register_trainable("a_trial", lambda config: None)
    six = proposals(digits(trials=6), tmp_path, "a_trial")
    assert len(six) == 6
    assert six[0] == {"distill.rho": 0.01, "distill.beta_strategy": "equal"}
    assert len({item["distill.rho"] for item in six}) == 6
    assert proposals(digits(trials=9), tmp_path, "a_trial")[:6] == six, "more trials extend a search"
    other = apply_overrides(digits(trials=6), {"seed": 1})
    assert proposals(other, tmp_path, "a_trial")[1:] != six[1:]
    without = proposals(digits(trials=6, start_with_preset=False), tmp_path, "a_trial")
    assert all(item["distill.rho"] != 0.01 for item in without)


def test_asha_counts_iterations() -> None:
    config = digits(budget=160, grace=40, reduction_factor=2)
    found = scheduler(config, SpaceSampler(SPACE, config))
    assert found._time_attr == "iteration"
    assert [milestone for milestone, _ in found._brackets[0]._rungs] == [160, 80, 40]


def test_a_grid_is_counted_whatever_trials_says(tmp_path: Path) -> None:
    config = digits(searcher="grid", trials=99)
    draws = SpaceSampler({"distill.beta_strategy": tune.choice(["equal", "scaled", "final"])}, config)
    _, _, count = searcher(config, draws, SearchDirectory(tmp_path), 2)
    assert (count, expected_trials(config, draws, count)) == (1, 3)


def test_tpe_is_told_of_what_ended_and_goes_on_with_what_did_not(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    directory = SearchDirectory(tmp_path)
    record(directory, "a", 0.01, "finished")
    record(directory, "b", 0.02, "stopped")
    record(directory, "c", 0.03, "running")
    config = digits(searcher="optuna", trials=10)
    draws = SpaceSampler(SPACE, config)
    search, space, left = searcher(config, draws, directory, 2)
    assert (space, left) == (None, 8)
    values = {trial.params["distill.rho"]: trial.value for trial in search._ot_study.trials if trial.value is not None}
    assert values == {0.01: 0.51, 0.02: 0.52}
    assert search.suggest("next")["distill.rho"] == 0.03


def test_tpe_begins_with_the_preset(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    config = digits(searcher="optuna", trials=10)
    search, _, left = searcher(config, SpaceSampler(SPACE, config), SearchDirectory(tmp_path), 2)
    assert left == 10
    assert search.suggest("first") == {"distill.rho": 0.01, "distill.beta_strategy": "equal"}
