from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ast_ray.config import Config, load_yaml
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.final import Candidate, final_stage, winner
from ast_ray.stages.device import real_data
from ast_ray.stages.executor import SerialExecutor
from tests import documents
from tests.tiny import Recorder, serial_run

CANDIDATES = [Candidate("preset", {}, None), Candidate("best-1", {"distill.rho": 0.05}, 0.9)]


def test_candidates_are_distilled_at_full_length_with_fresh_seeds_and_tested(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    config = tiny(tune__budget=3, tune__final_seeds=2)
    data, directory = real_data(config.data, torch.device("cpu")), SearchDirectory(tmp_path / "search")
    sink = Recorder()
    rows = final_stage(config, data, CANDIDATES, directory, SerialExecutor(sink), sink)
    assert [row["name"] for row in rows] == ["preset", "best-1"]
    assert all(row["n"] == 2 * 2 and row["seeds"] == [1000, 1001] for row in rows)
    assert len(list(directory.experts.glob("*/expert-*.parquet"))) == 2 * 2, "two seeds, shared by both candidates"
    best = rows[1]
    assert best["estimate_minus_test"] == pytest.approx(0.9 - best["test_mean"])
    assert rows[0]["estimate_minus_test"] is None
    for name, seed in (("preset", 1000), ("best-1", 1001)):
        outcome = documents.content(directory.final / name / f"seed-{seed}/distill/ast/outcome.json")
        assert outcome["iterations"] == 6

    again = final_stage(config, data, CANDIDATES, directory, SerialExecutor(sink), sink)
    assert again == rows

    stored = load_yaml(directory.final / "best-1" / "seed-1001" / "config.yaml")
    plan = serial_run(stored, tmp_path / "run")
    results = documents.content(plan.directory.results)
    (row,) = results["rows"]
    assert row["mean"] == pytest.approx(best["test_mean_per_seed"][1]), "a final run is what `ast-ray run` gives"


def test_networks_trained_together_are_told_one_by_one(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny(tune__final_seeds=1, evaluate__networks=3, compute__networks_together=2)
    data, sink = real_data(config.data, torch.device("cpu")), Recorder()
    (row,) = final_stage(config, data, CANDIDATES[:1], SearchDirectory(tmp_path), SerialExecutor(sink), sink)
    assert row["n"] == 3
    told = [(update.done, update.total) for update in sink.updates if update.key == "final evaluations"]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_winner_is_chosen_by_validation_not_by_the_test_set() -> None:
    rows = [
        {"name": "a", "validation_mean": 0.7, "test_mean": 0.9},
        {"name": "b", "validation_mean": 0.8, "test_mean": 0.6},
        {"name": "c", "validation_mean": None, "test_mean": None},
    ]
    found = winner(rows)
    assert found is not None
    assert found["name"] == "b"
    assert winner(rows[2:]) is None


def test_a_configuration_that_diverges_does_not_end_the_stage(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny(tune__final_seeds=1)
    data, sink = real_data(config.data, torch.device("cpu")), Recorder()
    bad = Candidate("best-1", {"distill.outer": "sgd", "distill.lr_lr": 1e6}, 0.5)
    rows = final_stage(config, data, [CANDIDATES[0], bad], SearchDirectory(tmp_path), SerialExecutor(sink), sink)
    assert [row["status"] for row in rows] == ["finished", "diverged"]
    assert rows[1]["test_mean"] is None
    assert any("diverge" in message or "stopped at iteration" in message for message in sink.messages)
