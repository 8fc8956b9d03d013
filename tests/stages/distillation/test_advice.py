"""Words about matching fit the numbers."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.coverage import Coverage
from ast_ray.core.methods.trajectory import Report
from ast_ray.stages.distillation.advice import describe_coverage, describe_loss, describe_skip

GOOD = Coverage(
    student_lr=0.02, loss=0.6, walk_lr=0.02, suggested_lr=0.02, best_loss=0.55, distance=1.5, perturbed=0.01
)
CHOSEN, SGD = DistillConfig(syn_steps=15), DistillConfig(syn_steps=15, outer="sgd", student_lr=0.02)


def test_a_good_prospect_is_one_line_without_advice():
    line = describe_coverage(GOOD, CHOSEN)
    assert line == (
        "in 2 epochs an expert's weights move by 1.5; the path of 15 student steps at learning rate 0.02 (chosen) is "
        "as long as that, and with the starting images it reduces the squared distance to the expert by 40 %"
    )
    assert "(chosen)" not in describe_coverage(GOOD, SGD)


@pytest.mark.parametrize(
    ("reach", "told"),
    [(1.04, "as long as that,"), (2, "twice as long,"), (0.5, "half as long,"), (0.31, "0.31 times as long,")],
)
def test_the_path_is_compared_in_words(reach: float, told: str):
    assert told in describe_coverage(dataclasses.replace(GOOD, walk_lr=0.02 / reach), CHOSEN)


def test_one_is_counted_as_one():
    line = describe_coverage(GOOD, DistillConfig(syn_steps=1, expert_epochs=1))
    assert line.startswith("in 1 epoch an expert's weights move by 1.5; the path of 1 student step at")


def test_an_alpha_out_of_reach_is_named_with_one_that_is_not():
    large = describe_coverage(dataclasses.replace(GOOD, student_lr=5.0, loss=math.inf), SGD)
    assert "distill.student_lr is too large: set it to about 0.02, or to 0 to have it chosen" in large
    assert "250 times as long, and with the starting images the student's weights overflow" in large
    small = describe_coverage(dataclasses.replace(GOOD, student_lr=1e-4, loss=0.999), SGD)
    assert small.endswith("by less than 1 %; distill.student_lr is too small: set it to 0 to have it chosen")


def test_a_hopeless_match_names_its_cause():
    drowned = dataclasses.replace(GOOD, perturbed=0.8)
    assert "alone is 80 % of the squared distance to the expert; lower distill.rho" in describe_coverage(
        drowned, CHOSEN
    )
    flat = dataclasses.replace(GOOD, loss=1.2, best_loss=0.999)
    line = describe_coverage(flat, CHOSEN)
    assert "it ends no nearer to the expert (relative matching loss 1.2; 1 = no nearer). This is unlikely" in line
    assert "raise distill.syn_steps" in line


def test_a_falling_loss_needs_no_words():
    assert describe_loss(0.94, 100, 0.02, GOOD, CHOSEN) is None


def test_near_one_and_above_one_get_different_advice():
    near = describe_loss(0.99, 100, 0.02, GOOD, CHOSEN) or ""
    assert "near 1" in near
    assert "raise distill.syn_steps" in near
    tiny = describe_loss(0.99, 100, 1e-4, GOOD, SGD) or ""
    assert tiny.endswith("distill.student_lr is too small: set it to 0 to have it chosen")
    fallen = describe_loss(0.99, 100, 1e-4, GOOD, CHOSEN) or ""
    assert fallen.endswith("the learning rate has fallen from 0.02, where it began: lower distill.step_lr")
    above = describe_loss(1.59, 60, 0.02, dataclasses.replace(GOOD, suggested_lr=0.004), SGD) or ""
    assert "above 1" in above
    assert "near 1" not in above
    assert "lower distill.student_lr (to 0.004, say)" in above
    assert "set distill.outer to normalized" in above
    assert "step_img" in (describe_loss(1.59, 60, 0.02, GOOD, CHOSEN) or "")


@pytest.mark.parametrize("present", [1e-5, 0.003, 0.02, 0.5])
@pytest.mark.parametrize("mean", [0.99, 1.3])
@pytest.mark.parametrize("config", [CHOSEN, SGD])
def test_no_learning_rate_above_the_present_one_is_advised(present: float, mean: float, config: DistillConfig):
    line = (describe_loss(mean, 100, present, GOOD, config) or "").partition("; ")[2]
    numbers = [float(number) for number in re.findall(r"(?:\(to|set it to about) ([\d.e-]+)", line)]
    assert len(numbers) == (1 if mean > 1 else 0)
    assert all(number < present for number in numbers)


def test_skips_are_said_at_the_first_and_at_every_tenfold():
    numbers = {"loss": math.nan, "relative_loss": math.nan, "image_gradient_norm": math.nan, "lr_gradient": 0.0}
    place = {"iteration": 7, "expert_id": 2, "start_epoch": 0, "nu": 1.0, "parts": (), "student_lr": 0.02}
    report = Report(**place, **numbers, skipped=1, unusable="loss is nan")
    assert describe_skip(report) == (
        "iteration 7: a segment of expert 2 was left out (loss is nan); 1 segment left out so far"
    )
    said = [count for count in range(1, 1001) if describe_skip(dataclasses.replace(report, skipped=count))]
    assert said == [1, 10, 100, 1000]
