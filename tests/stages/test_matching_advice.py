"""Words about matching fit the numbers."""

from __future__ import annotations

import dataclasses
import math

import pytest

from ast_ray.config.settings import DistillConfig
from ast_ray.core.coverage import Coverage
from ast_ray.core.distillation import IterationReport
from ast_ray.stages.matching_advice import describe_coverage, describe_loss, describe_skip

GOOD = Coverage(
    student_lr=0.02, loss=0.6, walk_lr=0.02, suggested_lr=0.02, best_loss=0.55, distance=1.5, perturbed=0.01
)
CHOSEN, SGD = DistillConfig(syn_steps=15), DistillConfig(syn_steps=15, outer="sgd", student_lr=0.02)


def test_a_good_prospect_is_one_line_without_advice():
    line = describe_coverage(GOOD, CHOSEN)
    assert line == (
        "the experts move 1.5 in 2 epochs; 15 student steps at alpha 0.02 (chosen) walk 1 times as far, and with the "
        "images as they start they cover 40 % of the squared way"
    )
    assert "(chosen)" not in describe_coverage(GOOD, SGD)


@pytest.mark.parametrize("alpha", [1e-4, 5.0])
def test_an_alpha_out_of_reach_is_named_with_one_that_is_not(alpha: float):
    line = describe_coverage(dataclasses.replace(GOOD, student_lr=alpha, loss=math.inf), SGD)
    assert "set distill.student_lr to about 0.02, or to 0" in line
    assert "overflow" in line


def test_a_hopeless_match_names_its_cause():
    drowned = dataclasses.replace(GOOD, perturbed=0.8)
    assert "80 % of the squared distance and drowns the match; lower distill.rho" in describe_coverage(drowned, CHOSEN)
    flat = dataclasses.replace(GOOD, loss=1.2, best_loss=0.999)
    line = describe_coverage(flat, CHOSEN)
    assert "cover nothing (loss 1.2)" in line
    assert "raise distill.syn_steps" in line


def test_a_falling_loss_needs_no_words():
    assert describe_loss(0.94, 100, 0.02, GOOD, CHOSEN) is None


def test_near_one_and_above_one_get_different_advice():
    near = describe_loss(0.99, 100, 0.02, GOOD, CHOSEN) or ""
    assert "near 1" in near
    assert "raise distill.syn_steps" in near
    tiny = describe_loss(0.99, 100, 1e-4, GOOD, SGD) or ""
    assert "set distill.student_lr to about 0.02" in tiny
    above = describe_loss(1.59, 60, 0.02, dataclasses.replace(GOOD, suggested_lr=0.004), SGD) or ""
    assert "above 1" in above
    assert "near 1" not in above
    assert "lower distill.student_lr (suggested: 0.004)" in above
    assert "distill.outer = normalized" in above
    assert "step_img" in (describe_loss(1.59, 60, 0.02, GOOD, CHOSEN) or "")


def test_skips_are_said_at_the_first_and_at_every_tenfold():
    report = IterationReport(
        7, 2, 0, 1.0, math.nan, math.nan, (), 0.02, math.nan, 0.0, skipped=1, unusable="loss is nan"
    )
    assert describe_skip(report) == "iteration 7: a segment of expert 2 was not used (loss is nan); 1 so far"
    said = [count for count in range(1, 1001) if describe_skip(dataclasses.replace(report, skipped=count))]
    assert said == [1, 10, 100, 1000]
