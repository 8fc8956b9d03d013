"""Clipped loss, gradient penalty and Avg_Var against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.rng import stream
from ast_ray.core.smoothness import avg_var, clipped_loss_coefficient, gradient_penalty


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ExpertConfig(), [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]),
        (ExpertConfig(clip_start=0.2, clip_epochs=2), [0.2, 0.6, 1.0, 1.0]),
        (ExpertConfig(clip_schedule="step", clip_epochs=3), [0.5, 0.5, 0.5, 1.0]),
        (ExpertConfig(clip_schedule="constant"), [1.0, 1.0, 1.0]),
        (ExpertConfig(clip_schedule="linear", clip_epochs=0), [1.0, 1.0]),
        # half a cosine over 4 epochs: shares 0, (1 - cos 45)/2, 1/2, (1 + cos 45)/2
        (
            ExpertConfig(clip_schedule="cosine", clip_epochs=4),
            [0.5, 0.5 + 0.25 * (1 - math.sqrt(0.5)), 0.75, 0.5 + 0.25 * (1 + math.sqrt(0.5)), 1.0],
        ),
    ],
)
def test_clipped_loss_coefficient(config, expected):
    assert [clipped_loss_coefficient(epoch, config) for epoch in range(len(expected))] == pytest.approx(expected)


# A linear model on 2-channel images of 1 x 2 pixels: logits = weight @ x, so the input gradient is the weight's.
WEIGHT = torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 2.0, 0.0, 0.0]], dtype=torch.float64)
X = torch.randn(3, 2, 1, 2, generator=stream(0, "penalty"), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])


def _linear(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1) @ WEIGHT.T


@pytest.mark.parametrize(
    ("scalar", "norm", "target", "expected"),
    [
        # sum of logits: gradient (3, 2, 4, 0) for every image, norm sqrt(29)
        ("sum", "sample", 1.0, (math.sqrt(29) - 1) ** 2),
        # per pixel over the channels: pixel 0 has (3, 4), pixel 1 has (2, 0)
        ("sum", "pixel", 1.0, ((5 - 1) ** 2 + (2 - 1) ** 2) / 2),
        # true class 0: (3, 0, 4, 0), norm 5; class 1: (0, 2, 0, 0), norm 2
        ("true_class", "sample", 1.0, ((5 - 1) ** 2 + 2 * (2 - 1) ** 2) / 3),
        # class 0: pixels 5 and 0; class 1: pixels 0 and 2
        ("true_class", "pixel", 1.0, ((5 - 1) ** 2 + 1 + 2 * (1 + (2 - 1) ** 2)) / 6),
        ("true_class", "sample", 0.0, (25 + 4 + 4) / 3),
    ],
)
def test_gradient_penalty_of_a_linear_model(scalar, norm, target, expected):
    config = ExpertConfig(penalty_scalar=scalar, penalty_norm=norm, penalty_target=target)
    assert float(gradient_penalty(_linear, X, LABELS, config)) == pytest.approx(expected)


def test_gradient_penalty_differentiates_to_the_weights():
    """Two-sided: d/dw (||w|| - 1)^2 = 2 (||w|| - 1) w / ||w||, which pulls short gradients up as well."""
    for scale in (5.0, 0.2):
        w = (scale * torch.tensor([[0.6, 0.0, 0.8, 0.0]], dtype=torch.float64)).requires_grad_()
        penalty = gradient_penalty(lambda x, w=w: x.flatten(1) @ w.T, X, torch.zeros(3).long(), ExpertConfig())
        (gradient,) = torch.autograd.grad(penalty, w)
        expected = 2 * (scale - 1) * torch.tensor([[0.6, 0.0, 0.8, 0.0]], dtype=torch.float64)
        assert torch.allclose(gradient, expected)


def test_gradient_penalty_of_a_network_against_finite_differences(make_network, make_images):
    network, (images, labels) = make_network(), make_images(per_class=1)
    config = ExpertConfig(penalty_scalar="true_class")
    value = float(gradient_penalty(network, images, labels, config).detach())
    total, step = 0.0, 1e-6
    for index in range(len(images)):
        slope = torch.zeros(images[index].numel(), dtype=torch.float64)
        for pixel in range(len(slope)):
            moved = torch.zeros_like(slope)
            moved[pixel] = step
            moved = moved.view_as(images[index])
            both = network(torch.stack([images[index] + moved, images[index] - moved])).detach()
            slope[pixel] = (both[0, labels[index]] - both[1, labels[index]]) / (2 * step)
        total += (float(slope.norm()) - 1) ** 2
    assert value == pytest.approx(total / len(images), rel=1e-6)


def test_gradient_penalty_leaves_the_images_alone():
    x = X.clone()
    gradient_penalty(_linear, x, LABELS, ExpertConfig())
    assert torch.equal(x, X)
    assert not x.requires_grad


def test_avg_var_is_the_mean_squared_move():
    points = [torch.tensor([0.0, 0.0]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 2.0])]
    assert avg_var(points) == pytest.approx((5 + 0 + 4) / 3)
    assert avg_var(points[1:3]) == 0
