"""Segments that are not used, and updates that are refused: the state stays as it was, and the message says why."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from ast_ray.core.methods.base import IMAGES
from ast_ray.core.methods.iteration import SKIPS_IN_A_ROW, iterate
from ast_ray.errors import DivergenceError
from tests.core.recorded import CONFIG, copied, same


@pytest.mark.parametrize("outer", ["normalized", "sgd"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_skipped_and_ten_in_a_row_stop(begin, value, outer):
    problem, state, experts = begin(dataclasses.replace(CONFIG, outer=outer))
    state = good = iterate(problem, state)[0]
    for walk in experts.trajectories:
        walk[:] = [point.clone().fill_(value) if epoch else point for epoch, point in enumerate(walk)]
    for number in range(1, SKIPS_IN_A_ROW):
        state, report = iterate(problem, state)
        assert report.unusable == "matching loss is nan"
        assert report.row()["relative_loss"] is None
        assert (report.skipped, state.skipped, state.numbers["skipped_in_a_row"]) == (number, number, number)
        assert all(torch.equal(state.tensors[name], good.tensors[name]) for name in good.tensors)
        assert (state.iteration, state.updates) == (1 + number, 1)
    kept = copied(state)
    with pytest.raises(
        DivergenceError, match=r"iteration 11, expert \d, start epoch \d: matching loss is nan, 10 iter.*lower"
    ):
        iterate(problem, state)
    assert same(state, kept)


def _times(result, factor):
    return dataclasses.replace(result, learned={**result.learned, IMAGES: result.learned[IMAGES] * factor})


def _with_gradient_times(factor):
    """A matcher whose image gradients are those of the problem, multiplied."""

    def match(problem, state, draws):
        results = [problem.gradients(state, draw) for draw in draws]
        return [_times(result, factor) for result in results]

    return match


def test_an_infinite_gradient_is_skipped_and_the_next_iteration_goes_on(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, outer="normalized"))
    state = iterate(problem, state)[0]
    skipped, report = iterate(problem, state, _with_gradient_times(math.inf))
    assert report.unusable.startswith("image gradient is ")
    assert torch.equal(skipped.images, state.images)
    assert torch.equal(skipped.student_lr, state.student_lr)
    after, report = iterate(problem, skipped)
    assert (report.unusable, report.skipped, after.numbers["skipped_in_a_row"]) == ("", 1, 0)
    assert not torch.equal(after.images, skipped.images)


def test_a_gradient_far_beyond_its_scale_is_skipped_and_a_lasting_change_is_followed(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, outer="normalized"))
    for _ in range(6):
        state, report = iterate(problem, state)
        assert not report.unusable
    one, report = iterate(problem, state, _with_gradient_times(1e6))
    assert report.unusable == "image gradient is far beyond its running scale"
    assert torch.equal(one.images, state.images)
    number = 1
    while report.unusable:
        one, report = iterate(problem, one, _with_gradient_times(1e6))
        number += 1
    assert number < SKIPS_IN_A_ROW
    sgd = dataclasses.replace(problem, config=dataclasses.replace(problem.config, outer="sgd"))
    assert not iterate(sgd, state, _with_gradient_times(50.0))[1].unusable


def test_a_bad_segment_among_good_ones_is_left_out_of_the_mean(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=3, outer_momentum=0.0))

    def second_breaks(problem, state, draws):
        results = [problem.gradients(state, draw) for draw in draws]
        results[1] = _times(results[1], math.nan)
        return results

    after, report = iterate(problem, state, second_breaks)
    draws = [problem.draw(state, place) for place in range(3)]
    first, _, third = (problem.gradients(state, draw) for draw in draws)
    assert torch.equal(after.tensors["image_velocity"], (first.learned[IMAGES] + third.learned[IMAGES]) / 2)
    assert report.loss == pytest.approx(float(first.loss + third.loss) / 2)
    assert (report.skipped, after.skipped, after.numbers["skipped_in_a_row"]) == (1, 1, 0)
    assert math.isfinite(report.image_gradient_norm)


@pytest.mark.parametrize(("velocity", "becomes"), [(1e6, r"-\S+"), (-1e308, "inf"), (math.nan, "nan")])
def test_alpha_must_stay_positive_and_finite(begin, velocity, becomes):
    problem, state, _ = begin(dataclasses.replace(CONFIG, lr_lr=10.0))
    state = state.changed({"lr_velocity": torch.tensor(velocity, dtype=torch.float64)})
    kept = copied(state)
    with pytest.raises(DivergenceError, match=rf"alpha would become {becomes} \(alpha was 0\.05.*lower distill\.lr_lr"):
        iterate(problem, state)
    assert torch.equal(state.images, kept.images)
    assert (float(state.student_lr), state.iteration) == (0.05, 0)


def test_pixels_must_stay_finite(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, lr_img=10.0))
    state = state.changed({"image_velocity": torch.full_like(state.images, 1e308)})
    kept = copied(state)
    with pytest.raises(DivergenceError, match=r"iteration 1, .*pixels would stop being finite .*lower distill\.lr_img"):
        iterate(problem, state)
    assert same(state, kept)


def test_a_divergence_of_several_segments_says_that_it_is_the_mean(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=4, lr_lr=1e9))
    kept = copied(state)
    with pytest.raises(DivergenceError, match=r"iteration 1, mean of 4 segments: alpha would become"):
        iterate(problem, state)
    assert same(state, kept)
