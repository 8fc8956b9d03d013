from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from ast_ray.config import Config, load_yaml
from ast_ray.core.experts.training import require_finite
from ast_ray.core.methods.base import Gradients, State
from ast_ray.core.methods.outer import MomentumSGD
from ast_ray.core.methods.trajectory import Report, TrajectoryMatching
from ast_ray.errors import DivergenceError
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.record import Rung, TrialRecord
from ast_ray.search.results import (
    best_records,
    candidates,
    describe_endings,
    summary,
    trial_rows,
    write_best,
    write_trials,
)

OBJECTIVE = "validation_accuracy"


def record(
    path: Path, name: str, status: str, accuracies: list[float], overrides: dict[str, Any], experts: str = "e"
) -> TrialRecord:
    directory = SearchDirectory(path)
    found = TrialRecord.open(directory.trial(name), name, overrides, experts)
    found.rungs = [
        Rung(2 * number + 2, accuracy, max(accuracies[: number + 1]), 0.9, 0.02)
        for number, accuracy in enumerate(accuracies)
    ]
    found.status, found.seconds, found.begun = status, 10.0, name
    found.save()
    return found


def five(path: Path) -> list[TrialRecord]:
    return [
        record(path, "0", "finished", [0.5, 0.7], {"distill.rho": 0.01}),
        record(path, "1", "stopped", [0.9], {"distill.rho": 0.02}),
        record(path, "2", "finished", [0.6, 0.8, 0.75], {"distill.rho": 0.03}),
        record(path, "3", "diverged", [0.99], {"distill.rho": 0.04}),
        record(path, "4", "running", [0.95], {"distill.rho": 0.05}),
    ]


def test_trials_that_ran_to_the_end_come_before_stopped_ones_and_broken_ones_never(tmp_path: Path) -> None:
    found = best_records(five(tmp_path), OBJECTIVE, 9)
    assert [item.fingerprint for item in found] == ["2", "0", "1"]
    best = best_records(five(tmp_path), "best_validation_accuracy", 1)
    assert best[0].objective("best_validation_accuracy") == 0.8


def test_the_start_of_the_search_is_a_candidate_once(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny()
    assert config.distill.rho == 0.01
    found = candidates(config, five(tmp_path), 2)
    assert [(item.name, dict(item.overrides), item.estimate) for item in found] == [
        ("preset", {}, 0.7),
        ("best-1", {"distill.rho": 0.03}, 0.75),
        ("best-2", {"distill.rho": 0.02}, 0.9),
    ]


def test_all_trials_are_rows_of_one_table(tmp_path: Path) -> None:
    directory = SearchDirectory(tmp_path)
    records = [*five(tmp_path), record(tmp_path, "5", "invalid", [], {"distill.init": "noise", "distill.rho": 0.1})]
    write_trials(directory, trial_rows(records, OBJECTIVE))
    table = pq.read_table(directory.table).to_pylist()
    assert [row["objective"] for row in table] == [0.7, 0.9, 0.75, 0.0, 0.95, 0.0]
    assert [row["distill.init"] for row in table] == [None] * 5 + ["noise"]
    assert table[2]["rung_accuracies"] == [0.6, 0.8, 0.75]
    assert table[2]["iterations"] == 6


def test_a_column_of_mixed_kinds_becomes_text(tmp_path: Path) -> None:
    directory = SearchDirectory(tmp_path)
    write_trials(directory, [{"a": 1, "b": 1}, {"a": "x", "b": 2.5}])
    assert pq.read_table(directory.table).to_pylist() == [{"a": "1", "b": 1.0}, {"a": "x", "b": 2.5}]


def test_the_best_configuration_is_one_that_a_run_takes(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config, directory = tiny(tune__budget=3), SearchDirectory(tmp_path)
    write_best(config, {"distill.rho": 0.05, "expert.clip_schedule": "constant"}, "how it was found", directory)
    assert directory.best.read_text(encoding="utf-8").startswith("# how it was found\n")
    loaded = load_yaml(directory.best)
    assert (loaded.distill.rho, loaded.expert.clip_schedule) == (0.05, "constant")
    assert loaded.distill.iterations == config.distill.iterations
    assert loaded.data == config.data


def test_the_summary_counts_how_trials_ended_and_tells_experts_apart(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    config, directory = tiny(tune__budget=6), SearchDirectory(tmp_path)
    five(tmp_path)
    directory.expert_log.write_text('{"buffer": "e", "expert": 0, "trial": "0", "seconds": 4.0}\n', encoding="utf-8")
    found = summary(config, directory)
    assert found["statuses"] == {"finished": 2, "stopped": 1, "diverged": 1, "running": 1}
    assert found["stopped_early"] == 0.2
    assert found["iterations"] == {"done": 4 + 2 + 6 + 2 + 2, "without_stopping": 30}
    assert found["seconds"] == {"trials": 50.0, "experts": 4.0, "waiting": 0}
    assert found["best"]["trial"] == "2"
    assert [item["status"] for item in found["broken"]] == ["diverged"]


def died(folder: Path, status: str, reasons: Sequence[str]) -> list[TrialRecord]:
    found = []
    for number, reason in enumerate(reasons):
        found.append(record(folder, f"{status}{len(list(folder.iterdir()))}-{number}", status, [], {}))
        found[-1].reason = reason
    return found


def told(update: Callable[[], object]) -> str:
    """Return the message about an update that is refused, with the place that distillation adds."""
    with pytest.raises(DivergenceError) as caught:
        update()
    losses = {"loss": 0.9, "relative_loss": 0.9, "image_gradient_norm": 1.0, "lr_gradient": 0.5, "parts": ()}
    report = Report(iteration=12, expert_id=3, start_epoch=5, nu=1.0, student_lr=0.0213, **losses)
    problem = TrajectoryMatching(None, None, None, None, 0)  # type: ignore[arg-type]
    return str(problem.divergence(report, str(caught.value), "; ".join(caught.value.__notes__)))


def test_trials_that_died_of_the_same_cause_are_one_entry(tmp_path: Path) -> None:
    learned = {"images": torch.zeros(1, 1, 2, 2), "student_lr": torch.tensor(0.02)}
    rule = MomentumSGD(lr_img=1.0, lr_lr=1.0, momentum=0.5)
    state = State.begin({**learned, **rule.init(learned)})
    reasons = []
    for number in range(20):
        slope = Gradients(torch.tensor(1.0), {**learned, "student_lr": torch.tensor(0.1 * 3**number)})
        text = told(lambda slope=slope: rule.update(state, [slope], slope))  # type: ignore[misc]
        where = f"last good state: iteration {number}, /search/trials/{number:08x}/checkpoint.safetensors"
        reasons.append(f"trial {number:08x}: {text}; {where}")
    infinite = {"images": torch.full((1, 1, 2, 2), math.inf), "student_lr": torch.tensor(0.0)}
    bad = Gradients(torch.tensor(1.0), infinite)
    pixels = told(lambda: rule.update(state, [bad], bad))
    with pytest.raises(DivergenceError) as caught:
        require_finite(math.nan, torch.zeros(1), 7, 3)
    expert = str(caught.value)
    records = [
        *died(tmp_path, "diverged", [*reasons, f"trial 0a: {pixels}", expert, expert.replace("expert 7", "expert 1")]),
        *died(tmp_path, "invalid", ["distill.lr_lr = 3.0: at most 1", "distill.lr_lr = 21: at most 1", ""]),
        *died(tmp_path, "failed", ["OSError: [Errno 28] No space left on device"]),
    ]
    assert describe_endings(records) == (
        "0 of 27 trials ended normally; 20 x alpha would become negative (diverged); "
        "2 x expert .. diverged in epoch .. (diverged); 2 x distill.lr_lr = ..: at most .. (invalid); "
        "1 x pixels would stop being finite (diverged); 2 trials for other reasons"
    )


def test_endings_count_those_that_ended_normally(tmp_path: Path) -> None:
    records = five(tmp_path)
    assert describe_endings(records[:3]) == "3 of 3 trials ended normally"
    records[3].reason = "the pool of experts is empty"
    assert describe_endings(records) == ("3 of 4 trials ended normally; 1 x the pool of experts is empty (diverged)")
