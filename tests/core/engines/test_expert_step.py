"""The written-out expert step against autograd and finite differences, chunks, degenerate images, a whole training."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.engines.convnet.kernels import Kernels
from ast_ray.core.engines.expert_step import AutogradExpertStep, ExpertBatch, ManualExpertStep
from ast_ray.core.experts.training import train_expert
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.core.parameters import FlatSpec, call, flatten
from ast_ray.core.rng import stream
from ast_ray.core.smoothness import gradient_penalty

CLASSES, BATCH = 4, 7
CONFIG = ExpertConfig(penalty_weight=0.7, batch_size=BATCH)


def _network(shape: tuple[int, int, int], depth: int, dtype: torch.dtype = torch.float64, *, width: int = 5) -> ConvNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConvNet(shape, CLASSES, width=width, depth=depth).to(dtype)


def _moved(network: ConvNet) -> Tensor:
    """Weights away from the initialisation, where every gamma is one and every beta nought."""
    theta = flatten(network)
    return theta + 0.2 * torch.randn(theta.shape, generator=stream(1, "test"), dtype=theta.dtype)


def _batch(shape: tuple[int, int, int], count: int, dtype: torch.dtype = torch.float64) -> ExpertBatch:
    noise = stream(0, "test", "images")
    images, augmented = (torch.randn(count, *shape, generator=noise, dtype=torch.float64).to(dtype) for _ in range(2))
    return ExpertBatch(images, augmented, torch.arange(count) % CLASSES, 0.6)


def _apart(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).norm() / reference.norm())


@pytest.mark.parametrize(("shape", "depth"), [((3, 8, 8), 2), ((2, 6, 9), 1), ((3, 5, 5), 2)])
@pytest.mark.parametrize("scalar", ["sum", "true_class"])
@pytest.mark.parametrize("norm", ["sample", "pixel"])
@pytest.mark.parametrize("count", [BATCH, 5])
@pytest.mark.parametrize("limit", [0, 5 * 8 * 8 * 8 * 3])
def test_equals_autograd(shape, depth, scalar, norm, count, limit):
    """A batch that is smaller than the others, and chunks that it does not fill, included."""
    network = _network(shape, depth)
    spec, theta, batch = FlatSpec.of(network), _moved(network), _batch(shape, count)
    config = dataclasses.replace(CONFIG, penalty_scalar=scalar, penalty_norm=norm)
    ours = ManualExpertStep(ManualConvNetEngine(spec, limit=limit), config, BATCH)(theta, batch)
    for mine, theirs in zip(ours, AutogradExpertStep(network, spec, config)(theta, batch), strict=True):
        assert mine.shape == theirs.shape
        assert _apart(mine, theirs) < 1e-12
        assert not mine.requires_grad


def test_equals_finite_differences():
    """(L_SC(theta + e*d) - L_SC(theta - e*d)) / 2e, with L_SC written down from Eq. 19."""
    network = _network((3, 8, 8), 2)
    spec, theta, batch = FlatSpec.of(network), _moved(network), _batch((3, 8, 8), BATCH)

    def loss(weights: Tensor) -> float:
        entropy = torch.nn.functional.cross_entropy(call(network, spec, weights, batch.augmented), batch.labels)
        penalty = gradient_penalty(lambda x: call(network, spec, weights, x), batch.images, batch.labels, CONFIG)
        return float((0.6 * entropy + 0.7 * penalty).detach())

    direction = torch.randn(theta.shape, generator=stream(3, "test"), dtype=theta.dtype)
    direction /= direction.norm()
    gradient, value, _ = ManualExpertStep(ManualConvNetEngine(spec), CONFIG, BATCH)(theta, batch)
    slope = (loss(theta + 1e-6 * direction) - loss(theta - 1e-6 * direction)) / 2e-6
    assert float(gradient @ direction) == pytest.approx(slope, rel=1e-6)
    assert float(value) == pytest.approx(loss(theta), rel=1e-12)


def test_without_penalty_there_is_only_the_cross_entropy(monkeypatch):
    from ast_ray.core.engines import expert_step

    def refuse(*_: object) -> None:
        raise AssertionError("the penalty was computed")

    monkeypatch.setattr(expert_step, "penalty_gradient", refuse)
    network = _network((3, 8, 8), 1)
    spec, theta, batch = FlatSpec.of(network), _moved(network), _batch((3, 8, 8), BATCH)
    plain = dataclasses.replace(CONFIG, penalty_weight=0.0)
    gradient, loss, penalty = ManualExpertStep(ManualConvNetEngine(spec), plain, BATCH)(theta, batch)
    expected = AutogradExpertStep(network, spec, plain)(theta, batch)
    assert _apart(gradient, expected[0]) < 1e-12
    assert (float(loss), float(penalty)) == (pytest.approx(float(expected[1])), 0.0)
    with pytest.raises(AssertionError, match="the penalty was computed"):
        ManualExpertStep(ManualConvNetEngine(spec), CONFIG, BATCH)(theta, batch)


def test_images_without_a_slope_count_with_nought():
    """A head of zeros makes every input gradient zero: (0 - K)^2 each, and no direction to go, as torch's norm says."""
    network = _network((3, 8, 8), 1)
    spec, theta, batch = FlatSpec.of(network), _moved(network), _batch((3, 8, 8), BATCH)
    spec.views(theta)["classifier.weight"].zero_()
    config = dataclasses.replace(CONFIG, penalty_target=2.0)
    ours = ManualExpertStep(ManualConvNetEngine(spec), config, BATCH)(theta, batch)
    reference = AutogradExpertStep(network, spec, config)(theta, batch)
    assert float(ours[2]) == pytest.approx(4.0)
    assert float(reference[2]) == pytest.approx(4.0)
    assert torch.isfinite(ours[0]).all()
    assert torch.allclose(ours[0], reference[0], atol=1e-14)


def test_a_whole_training_equals_autograds(make_images):
    network = _network((3, 8, 8), 1)
    images, labels = make_images(per_class=4, classes=CLASSES, shape=(3, 8, 8))
    config = dataclasses.replace(CONFIG, epochs=3, lr=0.02, augmentation="flip_scale")
    step = ManualExpertStep(ManualConvNetEngine(FlatSpec.of(network), limit=3 * 5 * 8 * 8 * 8), config, BATCH)
    ours = list(train_expert(network, images, labels, config, seed=0, expert_id=0, step=step))
    for mine, theirs in zip(ours, train_expert(network, images, labels, config, seed=0, expert_id=0), strict=True):
        assert _apart(mine.theta, theirs.theta) < 1e-10
        if mine.epoch:
            assert (mine.train_loss, mine.penalty) == (
                pytest.approx(theirs.train_loss, rel=1e-10),
                pytest.approx(theirs.penalty, rel=1e-9),
            )


def test_compiled_equals_autograd(compiled_code):
    network = _network((1, 8, 8), 1, torch.float32, width=4)
    spec, theta, batch = FlatSpec.of(network), _moved(network), _batch((1, 8, 8), BATCH, torch.float32)
    ours = ManualExpertStep(ManualConvNetEngine(spec, Kernels.compiled()), CONFIG, BATCH)(theta, batch)
    for mine, theirs in zip(ours, AutogradExpertStep(network, spec, CONFIG)(theta, batch), strict=True):
        assert _apart(mine, theirs) < 1e-4
