"""What a probe refuses before any expert of a trial is trained, and what it lets through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ast_ray.config import Config
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.record import TrialRecord
from ast_ray.search.trial import ExpertCost, Trial, plan_trial, run_trial
from ast_ray.search.trial_probe import refusal
from tests.recorder import Recorder


def test_ordinary_settings_pass(tiny: Callable[..., Config]):
    assert refusal(tiny()) == ""
    assert refusal(tiny(distill__outer="sgd", distill__student_lr=0.01, distill__lr_lr=1e-6)) == ""
    assert refusal(tiny(distill__init="noise", distill__syn_steps=80, distill__expert_epochs=2)) == ""


def test_a_published_rate_that_ends_in_one_iteration_is_refused_with_one_that_may_work(tiny: Callable[..., Config]):
    reason = refusal(tiny(distill__outer="sgd", distill__student_lr=0.01, distill__lr_lr=10.0))
    assert reason.startswith("distill.lr_lr = 10: alpha = 0.01 would become about ")
    assert "distill.outer = normalized" in reason
    assert refusal(tiny(distill__student_lr=0.01)) == "", "the normalized update cannot make alpha negative"


def test_a_perturbation_that_drowns_the_match_is_refused(tiny: Callable[..., Config]):
    assert refusal(tiny(distill__rho=50.0)).startswith("distill.rho = 50: the perturbation is about 100 %")


def test_experts_that_diverge_at_once_are_refused(tiny: Callable[..., Config]):
    reason = refusal(tiny(expert__lr=1e6))
    assert "expert 0 diverged" in reason
    assert "lower expert.lr" in reason


def test_a_refused_trial_trains_no_expert_and_says_why(tiny: Callable[..., Config], tmp_path: Path):
    def must_not_train(item: Trial, sink: object, cost: ExpertCost) -> None:
        raise AssertionError("asked for experts")

    trial = plan_trial(tiny(), {"distill.rho": 50.0}, "data", SearchDirectory(tmp_path))
    (last,) = run_trial(trial, must_not_train, Recorder())
    assert last.status == "invalid"
    record = TrialRecord.read(trial.directory)
    assert record is not None
    assert record.reason.startswith("probed before its experts were trained: distill.rho = 50")
    (again,) = run_trial(trial, must_not_train, Recorder())
    assert again == last
