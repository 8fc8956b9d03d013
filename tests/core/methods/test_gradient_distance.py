"""DC's distance: hand values, the definition row by row, autograd, and the pixels' gradient through the engine."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.core.augmentation import apply, draw, pull_back, repeated
from ast_ray.core.engines.autograd import AutogradEngine, StepData
from ast_ray.core.methods.gradient_distance import gradient_distance, number_of_rows
from ast_ray.core.parameters import FlatSpec, call, flatten
from ast_ray.core.rng import stream

# Two filters of a 1x1 convolution with two channels: rows (1, 0), (0, 2) against (1, 1), (0, -1).
HAND = FlatSpec(("weight",), (torch.Size([2, 2, 1, 1]),))
A = torch.tensor([1.0, 0.0, 0.0, 2.0], dtype=torch.float64)
B = torch.tensor([1.0, 1.0, 0.0, -1.0], dtype=torch.float64)


def _normal(count: int, *name: str | int) -> Tensor:
    return torch.randn(count, generator=stream(0, "test", "distance", *name), dtype=torch.float64)


def _written_out(spec: FlatSpec, a: Tensor, b: Tensor) -> Tensor:
    """The definition, one row at a time; differentiable in both."""
    total, start = a.new_zeros(()), 0
    for shape in spec.shapes:
        length = shape.numel()
        if len(shape) > 1:
            width = length // shape[0]
            for row in range(shape[0]):
                place = slice(start + row * width, start + (row + 1) * width)
                x, y = a[place], b[place]
                total = total + 1 - (x @ y) / ((x @ x).sqrt() * (y @ y).sqrt() + 1e-6)
        start += length
    return total


@pytest.fixture
def spec(make_network) -> FlatSpec:
    return FlatSpec.of(make_network(width=3, depth=2))


def test_hand_values():
    value, derivative = gradient_distance(HAND, A, B)
    assert float(value) == pytest.approx((1 - 1 / math.sqrt(2)) + 2, abs=2e-6)  # the 1e-6 is in it
    # Row 1: -b/sqrt(2) + a * sqrt(2)/2 = (0, -1/sqrt(2)). Row 2 is antiparallel: no direction turns it at first order.
    expected = torch.tensor([0.0, -1 / math.sqrt(2), 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(derivative, expected, rtol=0, atol=2e-6)


def test_rows_are_what_feeds_one_output_unit(make_network):
    # 3 filters of block 1, 3 of block 2, 3 classes.
    assert number_of_rows(FlatSpec.of(make_network(width=3, depth=2))) == 9
    assert number_of_rows(FlatSpec(("bias",), (torch.Size([4]),))) == 0


def test_rows_of_the_published_network(make_network):
    published = make_network(shape=(3, 32, 32), classes=10, width=128, depth=3)
    assert number_of_rows(FlatSpec.of(published)) == 394


def test_value_and_derivative_are_those_of_the_definition(spec):
    a, b = _normal(spec.numel, "a").requires_grad_(), _normal(spec.numel, "b")
    expected = _written_out(spec, a, b)
    (through,) = torch.autograd.grad(expected, a)
    value, derivative = gradient_distance(spec, a, b)
    assert not value.requires_grad
    assert not derivative.requires_grad
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-13)
    torch.testing.assert_close(derivative, through, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [1e-3, 1e-4])
def test_small_gradients_are_damped_as_published(spec, size):
    a, b = (size * _normal(spec.numel, name) for name in "ab")
    a.requires_grad_()
    expected = _written_out(spec, a, b)
    (through,) = torch.autograd.grad(expected, a)
    value, derivative = gradient_distance(spec, a, b)
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-13)
    torch.testing.assert_close(derivative, through, rtol=1e-9, atol=1e-9)
    assert float(gradient_distance(spec, b, b)[0]) > (1e-6 if size == 1e-3 else 0.1)


def test_equal_gradients_are_at_no_distance(spec):
    g = 1e4 * _normal(spec.numel, "g")
    value, derivative = gradient_distance(spec, g, g)
    assert 0 <= float(value) < 1e-12
    assert float(derivative.abs().max()) < 1e-12


def test_only_the_direction_of_large_gradients_counts(spec):
    a, b = 1e5 * _normal(spec.numel, "a"), 1e5 * _normal(spec.numel, "b")
    value = gradient_distance(spec, a, b)[0]
    torch.testing.assert_close(gradient_distance(spec, 7 * a, b)[0], value, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient_distance(spec, a, 0.3 * b)[0], value, rtol=1e-12, atol=0)


def test_tensors_of_one_dimension_change_nothing(spec):
    a, b = _normal(spec.numel, "a"), _normal(spec.numel, "b")
    flat = torch.cat([torch.full((shape.numel(),), len(shape) < 2) for shape in spec.shapes])
    assert flat.any()
    value, derivative = gradient_distance(spec, a, b)
    other, other_derivative = gradient_distance(spec, torch.where(flat, a + 1, a), torch.where(flat, 3 * b, b))
    assert torch.equal(other, value)
    assert torch.equal(other_derivative, derivative)
    assert not derivative[flat].any()
    assert derivative[~flat].all()


def test_rows_of_zeros_have_distance_one_and_the_first_term_alone():
    zero = torch.zeros(4, dtype=torch.float64)
    value, derivative = gradient_distance(HAND, zero, B)
    assert float(value) == 2
    torch.testing.assert_close(derivative, -B / 1e-6, rtol=1e-15, atol=0)
    value, derivative = gradient_distance(HAND, A, zero)
    assert float(value) == 2
    assert not derivative.any()
    step = 1e-12  # central differences at a = 0, along the first entry: the norm is a kink, but <a, b> is not
    shifted = [torch.tensor([sign * step, 0, 0, 0], dtype=torch.float64) for sign in (1, -1)]
    slope = (gradient_distance(HAND, shifted[0], B)[0] - gradient_distance(HAND, shifted[1], B)[0]) / (2 * step)
    assert float(slope) == pytest.approx(-1e6, rel=1e-4)


@pytest.mark.parametrize("exponent", [-20, -30, -38])
def test_tiny_float32_gradients_give_finite_derivatives(exponent):
    value, derivative = gradient_distance(HAND, (10.0**exponent * A).float(), B.float())
    assert torch.isfinite(value)
    assert torch.isfinite(derivative).all()


def _mean_loss_gradient(network, spec: FlatSpec, theta: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(call(network, spec, theta, images), labels)
    return torch.autograd.grad(loss, theta, create_graph=True)[0]


def test_pixels_gradient_through_the_engine_is_double_backward_and_differences(make_network, make_images):
    network = make_network(width=3, depth=1)
    spec, theta = FlatSpec.of(network), flatten(network).requires_grad_()
    (real, real_labels), (synthetic, labels) = make_images(per_class=5, seed=1), make_images(per_class=2, seed=2)
    real, real_labels, labels = real[5:10], real_labels[5:10], labels[2:4]  # class 1
    shared = draw(("scale",), 1, (8, 8), stream(0, "shared"), siamese=True)
    seen_real = apply(real, repeated(shared, len(real)))

    def whole(pixels: Tensor) -> Tensor:
        g_real = _mean_loss_gradient(network, spec, theta, seen_real, real_labels).detach()
        seen = apply(pixels, repeated(shared, len(pixels)))
        return _written_out(spec, _mean_loss_gradient(network, spec, theta, seen, labels), g_real)

    pixels = synthetic[2:4].clone().requires_grad_()
    (expected,) = torch.autograd.grad(whole(pixels), pixels)

    engine, chosen = AutogradEngine(network, spec), repeated(shared, len(pixels))
    g_real, _ = engine.gradient(theta, StepData(seen_real, real_labels, None, 1.0), keep=False)
    seen = StepData(apply(pixels.detach(), chosen), labels, None, 1.0)
    g_synthetic, kept = engine.gradient(theta, seen, keep=True)
    value, toward = gradient_distance(spec, g_synthetic, g_real)
    ours = pull_back(pixels, chosen, engine.derivative(kept, toward)[1])
    assert float(value) == pytest.approx(float(whole(pixels).detach()), rel=1e-12)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)

    step, direction = 1e-5, torch.randn(ours.shape, generator=stream(0, "direction"), dtype=torch.float64)
    up, down = (float(whole(pixels.detach() + sign * step * direction).detach()) for sign in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(float((ours * direction).sum()), rel=1e-6)


def test_a_hundred_updates_on_one_batch_halve_the_distance(make_network, make_images):
    network = make_network(width=3, depth=1)
    spec, theta = FlatSpec.of(network), flatten(network)
    (real, real_labels), (synthetic, labels) = make_images(per_class=5, seed=1), make_images(per_class=2, seed=2)
    engine, images, velocity = AutogradEngine(network, spec), synthetic[:2], torch.zeros_like(synthetic[:2])
    g_real, _ = engine.gradient(theta, StepData(real[:5], real_labels[:5], None, 1.0), keep=False)
    values = []
    for _ in range(100):
        g, kept = engine.gradient(theta, StepData(images, labels[:2], None, 1.0), keep=True)
        value, toward = gradient_distance(spec, g, g_real)
        velocity = 0.5 * velocity + engine.derivative(kept, toward)[1]
        images = images - velocity  # at rate 1
        values.append(float(value))
    assert values[-1] < values[0] / 2
