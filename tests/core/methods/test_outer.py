"""The outer optimizers: hand values, what makes them scale-free, what they refuse."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.base import Gradients, OuterOptimizer, State
from ast_ray.core.methods.iteration import average
from ast_ray.core.methods.outer import (
    DECAY,
    OUTLIER_AFTER,
    LateHalving,
    MomentumSGD,
    Normalized,
    image_optimizer,
    outer_optimizer,
)
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError

RULE = Normalized(step_img=0.1, step_lr=0.05)


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _gradients(images: Tensor, slope: float) -> Gradients:
    return Gradients(_number(1.0), {"images": images, "student_lr": _number(slope)})


def _begin(rule: OuterOptimizer, like: Tensor, alpha: float = 0.01) -> State:
    """The state of zero images and alpha."""
    learned = {"images": torch.zeros_like(like), "student_lr": _number(alpha)}
    return State.begin({**learned, **rule.init(learned)})


def _update(rule: OuterOptimizer, state: State, *gradients: Gradients) -> State:
    return state.changed(rule.update(state, gradients, average(gradients)), updates=state.updates + 1)


def _run(
    rule: OuterOptimizer, gradients: list[tuple[Tensor, float]], alpha: float = 0.01
) -> tuple[list[Tensor], list[float]]:
    """Images and alpha after each gradient, from zero images."""
    state, seen, rates = _begin(rule, gradients[0][0], alpha), [], []
    for gradient, slope in gradients:
        state = _update(rule, state, _gradients(gradient, slope))
        seen.append(state.images)
        rates.append(float(state.student_lr))
    return seen, rates


def _random(count: int, scale: float = 1.0) -> list[Tensor]:
    return [scale * torch.randn(2, 1, 3, 3, generator=stream(n), dtype=torch.float64) for n in range(count)]


def test_pixels_follow_the_hand_calculation():
    g = [torch.tensor([[[[3.0, -4.0]]]], dtype=torch.float64), torch.tensor([[[[1.0, 2.0]]]], dtype=torch.float64)]
    seen, _ = _run(RULE, [(one, 0.0) for one in g])
    first = -0.1 * g[0] / math.sqrt(12.5)
    assert torch.allclose(seen[0], first, rtol=1e-12)
    mean, square = (0.09 * g[0] + 0.1 * g[1]) / 0.19, (0.09 * 12.5 + 0.1 * 2.5) / 0.19
    assert torch.allclose(seen[1], first - 0.1 * mean / math.sqrt(square), rtol=1e-12)


def test_alpha_follows_the_hand_calculation_in_log_space():
    zero = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    rule = dataclasses.replace(RULE, total_weight=2.0)
    _, rates = _run(rule, [(zero, 40.0), (zero, -30.0)])
    first = 0.01 * math.exp(-0.05)  # one slope over its own root mean square
    slopes = [0.01 * 40 / 2, first * -30 / 2]
    mean = (0.09 * slopes[0] + 0.1 * slopes[1]) / 0.19
    square = (0.09 * slopes[0] ** 2 + 0.1 * slopes[1] ** 2) / 0.19
    second = first * math.exp(-0.05 * mean / math.sqrt(square))
    assert rates == pytest.approx([first, second], rel=1e-12)


def test_alpha_stays_positive_whatever_the_gradient_and_moves_by_a_bounded_factor():
    zero = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    for slopes in ([1e12] * 200, [1e-12] * 200, [-1e12, 3.0, 1e9, -1e-6] * 50):
        _, rates = _run(RULE, [(zero, slope) for slope in slopes])
        assert all(rate > 0 for rate in rates)
        changes = [abs(math.log(after / before)) for before, after in zip([0.01, *rates], rates, strict=False)]
        assert max(changes) <= 0.05 + 1e-12
    _, small = _run(RULE, [(zero, 1e-12)] * 30)
    assert small[-1] / small[-2] == pytest.approx(math.exp(-0.05), rel=0.01)  # as fast where the slope is small


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_scale_of_the_gradient_does_not_matter(factor: float):
    ours, _ = _run(RULE, [(one, 0.0) for one in _random(8)])
    theirs, _ = _run(RULE, [(factor * one, 0.0) for one in _random(8)])
    assert all(torch.allclose(one, other, rtol=1e-9) for one, other in zip(ours, theirs, strict=True))


def test_an_update_is_at_most_the_step_in_root_mean_square():
    gradients = [scale * one for one, scale in zip(_random(40), [1.0, 1e6, 1e-6, 3.0] * 10, strict=True)]
    seen, _ = _run(RULE, [(one, 0.0) for one in gradients])
    steps = [after - before for before, after in zip([torch.zeros_like(seen[0]), *seen], seen, strict=False)]
    sizes = [float(step.square().mean().sqrt()) for step in steps]
    assert max(sizes) <= 0.1 + 1e-12
    assert sizes[0] == pytest.approx(0.1)
    steady, _ = _run(RULE, [(gradients[0], 0.0)] * 30)
    assert float((steady[-1] - steady[-2]).square().mean().sqrt()) == pytest.approx(0.1)


def test_a_zero_gradient_leaves_the_pixels():
    zero = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    seen, rates = _run(RULE, [(zero, 0.0)] * 3)
    assert not any(image.any() for image in seen)
    assert rates == [0.01] * 3


def test_the_slopes_of_several_segments_are_clipped_one_by_one():
    images = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    state = _update(RULE, _begin(RULE, images), *(_gradients(images, slope) for slope in (1e9, -20.0)))
    assert float(state.tensors["lr_velocity"]) == pytest.approx(0.1 * (1.0 - 0.2) / 2, rel=1e-12)
    assert float(state.tensors["lr_scale"]) == pytest.approx(0.1 * ((1.0 - 0.2) / 2) ** 2, rel=1e-12)
    assert float(state.student_lr) == pytest.approx(0.01 * math.exp(-0.05), rel=1e-12)


def test_outliers_count_from_the_running_scale_and_are_followed_when_they_last():
    gradient = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    state = _begin(RULE, gradient)

    def outlier(state: State, factor: float, units: int) -> bool:
        return RULE.is_outlier(state, _gradients(factor * gradient, 0.0), units)

    for _ in range(OUTLIER_AFTER):
        assert not outlier(state, 1e9, 1), "no scale yet"
        state = _update(RULE, state, _gradients(gradient, 0.0))
    assert not outlier(state, 9.9, 1)
    assert outlier(state, 10.1, 1)
    assert not outlier(state, 19.9, 4)
    assert outlier(state, 20.1, 4)
    absorbed = state.changed(RULE.absorb(state, _gradients(1e6 * gradient, 0.0)))
    corrected = float(absorbed.tensors["image_scale"]) / (1 - DECAY**OUTLIER_AFTER)
    assert corrected > 9
    assert not outlier(absorbed, 30, 1)
    assert torch.equal(absorbed.tensors["image_velocity"], state.tensors["image_velocity"])


def test_sgd_is_torchs():
    rule, gradients = MomentumSGD(0.3, 0.002, 0.5), _random(5)
    images = torch.zeros_like(gradients[0]).requires_grad_()
    alpha = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    torchs = torch.optim.SGD([{"params": [images], "lr": 0.3}, {"params": [alpha], "lr": 0.002}], momentum=0.5)
    seen, rates = _run(rule, [(one, -0.5) for one in gradients])
    for one, ours, rate in zip(gradients, seen, rates, strict=True):
        images.grad, alpha.grad = one, torch.tensor(-0.5, dtype=torch.float64)
        torchs.step()
        assert torch.allclose(ours, images.detach(), rtol=1e-12)
        assert rate == pytest.approx(alpha.item(), rel=1e-12)
    assert not rule.is_outlier(_begin(rule, images.detach()), _gradients(1e300 * gradients[0], 0.0), 1)


@pytest.mark.parametrize(("slope", "cause"), [(1e6, "alpha would become -"), (math.nan, "alpha would become nan")])
def test_sgd_refuses_an_alpha_that_is_not_positive_and_says_what_else_there_is(slope: float, cause: str):
    with pytest.raises(DivergenceError, match=cause) as caught:
        _run(MomentumSGD(1.0, 0.1, 0.5), [(_random(1)[0], slope)])
    assert caught.value.__notes__ == [
        "lower distill.lr_lr, or use distill.outer = normalized, which needs no such rate"
    ]


def test_the_settings_choose_and_the_step_is_in_units_of_the_images():
    config = DistillConfig(step_img=0.05, step_lr=0.1, lr_img=7.0, lr_lr=0.1, outer_momentum=0.25)
    assert outer_optimizer(config, 3.0) == Normalized(0.05 * 3.0, 0.1, 2.0)
    assert outer_optimizer(dataclasses.replace(config, outer="sgd"), 3.0) == MomentumSGD(7.0, 0.1, 0.25)


@pytest.mark.parametrize(("outer", "name"), [("sgd", "lr_img"), ("normalized", "step_img")])
def test_a_rate_is_halved_after_sixty_eighty_and_ninety_percent(outer: str, name: str):
    config = DistillConfig(outer=outer, step_img=0.1, outer_momentum=0.0)
    rule = LateHalving(image_optimizer(config, 2.0, 0.4, "feature_alignment.lr_img"), 100)
    first = getattr(rule.at(0), name)
    assert first == (0.4 if outer == "sgd" else 0.2)
    factors = [getattr(rule.at(number), name) / first for number in (59, 60, 79, 80, 89, 90, 99)]
    assert factors == [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    learned = {"images": torch.zeros(1, 1, 1, 2, dtype=torch.float64)}
    gradient = Gradients(_number(1.0), {"images": torch.tensor([[[[3.0, -4.0]]]], dtype=torch.float64)})
    early = State.begin({**learned, **rule.init(learned)})
    moves = [rule.update(early.changed({}, iteration=number), [gradient], gradient)["images"] for number in (0, 95)]
    assert torch.allclose(moves[1], moves[0] / 8, rtol=1e-12)


def test_pixels_of_other_methods_name_their_own_rate():
    rule = image_optimizer(DistillConfig(outer="sgd"), 1.0, 1e300, "distribution_matching.lr_img")
    learned = {"images": torch.zeros(1, 1, 1, 1, dtype=torch.float64)}
    huge = Gradients(_number(1.0), {"images": torch.full((1, 1, 1, 1), 1e300, dtype=torch.float64)})
    with pytest.raises(DivergenceError, match="pixels would stop being finite") as caught:
        rule.update(State.begin({**learned, **rule.init(learned)}), [huge], huge)
    assert caught.value.__notes__[0].startswith("lower distribution_matching.lr_img")
