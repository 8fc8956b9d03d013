"""DM's and CAFE's losses between class means: by hand, by a linear network, by autograd and differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ast_ray.core.methods.feature_losses import (
    class_means,
    discrimination_loss,
    layer_weights,
    mean_distance,
    mean_scale,
)
from ast_ray.core.rng import stream


def _normal(*shape: int, name: str = "") -> Tensor:
    return torch.randn(shape, generator=stream(0, "test", "features", name), dtype=torch.float64)


def test_class_means_by_hand():
    features = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 5.0], [0.0, 9.0], [2.0, 0.0], [1.0, 0.0]])
    means = class_means(features, torch.tensor([0, 0, 1, 2, 2, 2]))
    assert torch.equal(means, torch.tensor([[2.0, 2.0], [5.0, 5.0], [1.0, 3.0]]))
    group = class_means(features[2:], torch.tensor([1, 2, 2, 2]))
    assert torch.equal(group, means[1:])


def test_class_means_of_maps():
    maps = _normal(6, 2, 3, 3)
    means = class_means(maps, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert means.shape == (3, 2, 3, 3)
    torch.testing.assert_close(means[1], (maps[2] + maps[3]) / 2, rtol=1e-15, atol=0)


def test_mixed_classes_are_refused():
    with pytest.raises(ValueError, match="in one block"):
        class_means(_normal(3, 2), torch.tensor([0, 1, 0]))


def test_distance_and_scale_by_hand():
    real, synthetic = torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    assert float(mean_distance(real, synthetic)) == 1 + 4 + 4 + 1
    assert float(mean_scale(real)) == 1 + 4 + 9
    assert torch.equal(mean_scale(real), mean_distance(real, torch.zeros_like(real)))


LABELS, REAL_LABELS = torch.arange(3).repeat_interleave(2), torch.arange(3).repeat_interleave(5)


def _loss(weight: Tensor, synthetic: Tensor, real: Tensor) -> Tensor:
    """DM's loss of the network phi(x) = W x."""
    return mean_distance(class_means(real @ weight.T, REAL_LABELS), class_means(synthetic @ weight.T, LABELS))


def test_gradient_of_a_linear_network_by_hand():
    weight, real, synthetic = _normal(4, 7, name="W"), _normal(15, 7, name="real"), _normal(6, 7, name="syn")
    leaf = synthetic.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_loss(weight, leaf, real), leaf)
    for label in range(3):
        gap = real[5 * label : 5 * label + 5].mean(0) - synthetic[2 * label : 2 * label + 2].mean(0)
        expected = -2 / 2 * weight.T @ weight @ gap  # -(2 / ipc) W^T W (mean real - mean syn)
        for row in (2 * label, 2 * label + 1):
            torch.testing.assert_close(gradient[row], expected, rtol=1e-12, atol=1e-13)


def test_the_real_batch_itself_has_no_loss():
    weight, real = _normal(4, 7, name="W"), _normal(15, 7, name="real")
    means = class_means(real @ weight.T, REAL_LABELS)
    assert float(mean_distance(means, means.clone())) == 0


def test_groups_of_classes_add_up_and_their_order_does_not_matter(make_network, make_images):
    network = make_network(width=3, depth=2)
    (real, real_labels), (synthetic, labels) = make_images(per_class=5, seed=1), make_images(per_class=2, seed=2)

    def gradient(classes: list[int]) -> tuple[Tensor, Tensor]:
        leaf = synthetic.clone().requires_grad_()
        own, theirs = ([torch.nonzero(of == c).flatten() for c in classes] for of in (labels, real_labels))
        rows, real_rows = torch.cat(own), torch.cat(theirs)
        target = class_means(network.features(real[real_rows]).detach(), real_labels[real_rows])
        loss = mean_distance(target, class_means(network.features(leaf[rows]), labels[rows]))
        return loss.detach(), torch.autograd.grad(loss, leaf)[0]

    together, permuted = gradient([0, 1, 2]), gradient([2, 0, 1])
    groups = [gradient([0]), gradient([1, 2])]
    for index in range(2):
        torch.testing.assert_close(permuted[index], together[index], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(groups[0][index] + groups[1][index], together[index], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("maps", "weights"),
    [(1, (2,)), (2, (0.1, 2)), (3, (0.1, 0.1, 2)), (4, (0.1, 0.1, 1, 2)), (6, (0.1, 0.1, 1, 1, 1, 2))],
)
def test_layer_weights(maps, weights):
    assert layer_weights(maps) == weights


@torch.no_grad()
def test_the_last_map_counts_once_as_a_map_and_once_as_the_features(make_network, make_images):
    network = make_network(depth=3)
    (real, real_labels), (synthetic, labels) = make_images(per_class=3, seed=1), make_images(per_class=2, seed=2)
    sides = [(network.layers(real), real_labels), (network.layers(synthetic), labels)]
    means = [[class_means(each, of) for each in maps] for maps, of in sides]
    ours = [float(mean_distance(a, b)) for a, b in zip(*means, strict=True)]
    flat = [class_means(network.features(x), of) for x, of in ((real, real_labels), (synthetic, labels))]
    last = float(mean_distance(*flat))
    assert ours[3] == pytest.approx(last, rel=1e-12)
    loss = sum(weight * value for weight, value in zip(layer_weights(4), ours, strict=True))
    assert loss == pytest.approx(0.1 * ours[0] + 0.1 * ours[1] + ours[2] + ours[3] + last, rel=1e-12)


def test_discrimination_by_hand():
    real, means = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    labels, by_hand = torch.tensor([0, 1]), math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))
    assert by_hand == pytest.approx(0.440190, abs=5e-7)
    assert float(discrimination_loss(real, labels, means, weight=1)) == pytest.approx(by_hand, rel=1e-14)
    assert float(discrimination_loss(real, labels, means)) == pytest.approx(0.01 * by_hand, rel=1e-14)
    twice = discrimination_loss(torch.cat([real, real]), labels.repeat(2), means)
    assert float(twice) == pytest.approx(0.02 * by_hand, rel=1e-14)  # a sum over images, not a mean


def test_gradient_of_all_layers_and_the_discrimination_by_differences(make_network, make_images):
    network = make_network(width=3, depth=2)
    (real, real_labels), (synthetic, labels) = make_images(per_class=5, seed=1), make_images(per_class=2, seed=2)
    with torch.no_grad():
        maps = network.layers(real)
    targets = [class_means(each, real_labels) for each in maps]

    def loss(pixels: Tensor) -> Tensor:
        means = [class_means(each, labels) for each in network.layers(pixels)]
        parts = [mean_distance(a, b) for a, b in zip(targets, means, strict=True)]
        matched = sum(weight * part for weight, part in zip(layer_weights(3), parts, strict=True))
        return matched + discrimination_loss(maps[-1].flatten(1), real_labels, means[-1].flatten(1))

    leaf = synthetic.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    step, direction = 1e-5, _normal(*synthetic.shape, name="direction")
    with torch.no_grad():
        up, down = (float(loss(synthetic + sign * step * direction)) for sign in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=1e-6)
