"""Sharpness-aware experts: hand values of one step, GSAM's identities, whole trainings written out, several at once."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.engines.convnet.kernels import Kernels
from ast_ray.core.engines.expert_step import AutogradExpertStep, ExpertBatch, ManualExpertStep
from ast_ray.core.experts import training
from ast_ray.core.experts.sharpness import SharpnessAware, ascent, direction
from ast_ray.core.experts.training import train_expert, train_experts_together
from ast_ray.core.parameters import FlatSpec, flatten, load
from ast_ray.core.rng import stream

CURVATURE = torch.tensor([1.0, 3.0], dtype=torch.float64)
THETA = torch.tensor([1.0, 2.0], dtype=torch.float64)
NO_BATCH = ExpertBatch(torch.zeros(0), torch.zeros(0), torch.zeros(0), 1.0)
FTD = ExpertConfig(
    epochs=3,
    batch_size=4,
    lr=0.05,
    momentum=0.0,
    weight_decay=0.0,
    lr_decay_epoch=0,
    clip_schedule="constant",
    penalty_weight=0.0,
    augmentation="flip_scale",
    sharpness_rho=0.05,
    sharpness_alpha=0.3,
)
SMOOTH = dataclasses.replace(FTD, momentum=0.9, weight_decay=1e-2, clip_schedule="linear", penalty_weight=0.5)


def _quadratic(theta: Tensor, _: ExpertBatch) -> tuple[Tensor, Tensor, Tensor]:
    """L = 1/2 theta^T diag(1, 3) theta."""
    return CURVATURE * theta, (CURVATURE * theta.square()).sum() / 2, torch.zeros(())


def test_one_step_by_hand():
    """|| |theta| g || = ||(1, 12)||, so e = 0.1 * (1, 24) / 12.0416."""
    gradient = CURVATURE * THETA
    e = ascent(THETA, gradient, 0.1)
    assert e.tolist() == pytest.approx([0.008305, 0.199309], abs=1e-6)
    perturbed = CURVATURE * (THETA + e)
    assert perturbed.tolist() == pytest.approx([1.008305, 6.597927], abs=1e-6)
    orthogonal = perturbed - direction(gradient, perturbed, 1.0)
    assert orthogonal.tolist() == pytest.approx([0.081176, -0.012405], abs=1e-6)
    assert abs(float(orthogonal @ perturbed)) < 1e-12
    for alpha, expected in ((1.0, [0.927129, 6.610333]), (0.3, [0.983952, 6.601649])):
        found, loss, penalty = SharpnessAware(_quadratic, 0.1, alpha)(THETA, NO_BATCH)
        assert found.tolist() == pytest.approx(expected, abs=2e-6)
        assert (float(loss), float(penalty)) == (6.5, 0.0)


def test_without_alpha_the_direction_is_the_perturbed_gradient():
    perturbed = CURVATURE * (THETA + ascent(THETA, CURVATURE * THETA, 0.1))
    assert torch.equal(SharpnessAware(_quadratic, 0.1, 0.0)(THETA, NO_BATCH)[0], perturbed)


def test_weights_at_nought_stay_where_they_are_and_are_trained():
    theta = torch.tensor([0.0, 2.0], dtype=torch.float64)
    gradient = torch.tensor([5.0, 1.0], dtype=torch.float64)
    assert ascent(theta, gradient, 0.1).tolist() == pytest.approx([0.0, 0.2])  # 0.1 * 4 * 1 / 2
    assert float(direction(gradient, gradient, 0.5)[0]) == pytest.approx(5.0)


def test_gradients_of_nought_divide_nothing_by_nought():
    none = torch.zeros(2, dtype=torch.float64)
    assert ascent(THETA, none, 0.1).tolist() == [0.0, 0.0]
    assert direction(none, none, 0.3).tolist() == [0.0, 0.0]
    assert direction(THETA, none, 0.5).tolist() == [-0.5, -1.0]


def test_every_row_is_an_expert_of_its_own():
    noise = stream(0, "test")
    theta, gradient, perturbed = (torch.randn(3, 5, generator=noise, dtype=torch.float64) for _ in range(3))
    theta[1] *= 100
    moved, ways = ascent(theta, gradient, 0.1), direction(gradient, perturbed, 0.3)
    for row in range(3):
        assert torch.allclose(moved[row], ascent(theta[row], gradient[row], 0.1), rtol=1e-14)
        assert torch.allclose(ways[row], direction(gradient[row], perturbed[row], 0.3), rtol=1e-13)


def _written_out(network, images, labels, config) -> list[Tensor]:
    """FTD's training by modules and `torch.autograd`: theta after each epoch, from the first expert's streams."""
    spec, theta, found = FlatSpec.of(network), flatten(network), []
    own = theta.clone()

    def gradient(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
        load(network, spec, at)
        log_probability = network(x).log_softmax(1)
        loss = -log_probability[torch.arange(len(y)), y].mean()
        return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(network.parameters()))])

    for epoch in range(config.epochs):
        generator = stream(0, "expert", 0, "epoch", epoch)
        for rows in torch.randperm(len(images), generator=generator).split(config.batch_size):
            chosen = draw(operations(config.augmentation), len(rows), (8, 8), generator)
            x, y = apply(images[rows], chosen), labels[rows]
            g = gradient(theta, x, y)
            length = float(((theta.abs() * g) ** 2).sum()) ** 0.5
            g2 = gradient(theta + config.sharpness_rho * theta**2 * g / length, x, y)
            orthogonal = g - (g @ g2) / (g2 @ g2) * g2
            theta = theta - config.lr * (g2 - config.sharpness_alpha * orthogonal)
        found.append(theta)
    load(network, spec, own)
    return found


def test_a_whole_training_equals_the_one_written_out(make_network, make_images):
    """Both gradients see one augmented batch, and the draws after it are those of plain experts."""
    network, (images, labels) = make_network(), make_images()
    records = list(train_expert(network, images, labels, FTD, seed=0, expert_id=0))
    plain = dataclasses.replace(FTD, sharpness_rho=0.0, sharpness_alpha=0.0)
    others = list(train_expert(network, images, labels, plain, seed=0, expert_id=0))
    for record, other, expected in zip(
        records[1:], others[1:], _written_out(network, images, labels, FTD), strict=True
    ):
        assert torch.allclose(record.theta, expected, rtol=1e-10, atol=1e-12)
        assert float((record.theta - other.theta).norm()) > 1e-4


@pytest.mark.parametrize("config", [FTD, SMOOTH])
def test_a_radius_of_nought_is_plain_sgd(make_network, make_images, monkeypatch, config):
    """Wrapped with rho 0 it agrees to rounding; by the setting it is not wrapped at all, whatever alpha."""
    network, (images, labels) = make_network(), make_images()
    off = dataclasses.replace(config, sharpness_rho=0.0)
    bare = dataclasses.replace(off, sharpness_alpha=0.0)
    step = SharpnessAware(AutogradExpertStep(network, FlatSpec.of(network), bare), 0.0, config.sharpness_alpha)
    wrapped = list(train_expert(network, images, labels, bare, seed=0, expert_id=0, step=step))
    monkeypatch.setattr(training, "SharpnessAware", None)
    plain, unused = (list(train_expert(network, images, labels, one, seed=0, expert_id=0)) for one in (bare, off))
    for one, other, third in zip(plain, wrapped, unused, strict=True):
        assert torch.allclose(one.theta, other.theta, rtol=1e-12, atol=1e-12)
        assert torch.equal(one.theta, third.theta)


@pytest.mark.parametrize("config", [FTD, SMOOTH])
def test_several_at_once_are_the_experts_one_at_a_time(make_network, make_images, config):
    images, labels = make_images(per_class=3)
    networks = [make_network() for _ in range(3)]
    for scale, network in zip((0.01, 0.5, 2.0), networks, strict=True):  # norms far apart
        for parameter in network.parameters():
            parameter.data += scale * torch.rand(parameter.shape, dtype=torch.float64, generator=stream(1, "start"))
    ids = (3, 0, 8)
    together = list(train_experts_together(networks, images, labels, config, seed=4, expert_ids=ids))
    for number, network in zip(ids, networks, strict=True):
        alone = list(train_expert(network, images, labels, config, seed=4, expert_id=number))
        for expected, epoch in zip(alone, together, strict=True):
            assert torch.allclose(epoch[number].theta, expected.theta, rtol=1e-9, atol=1e-10)
            assert epoch[number].train_loss == pytest.approx(expected.train_loss, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("config", [FTD, SMOOTH])
def test_the_written_out_step_serves_inside(make_network, make_images, config):
    network, (images, labels) = make_network(), make_images()
    step = ManualExpertStep(ManualConvNetEngine(FlatSpec.of(network)), config, config.batch_size)
    ours = list(train_expert(network, images, labels, config, seed=0, expert_id=0, step=step))
    for mine, theirs in zip(ours, train_expert(network, images, labels, config, seed=0, expert_id=0), strict=True):
        assert torch.allclose(mine.theta, theirs.theta, rtol=1e-8, atol=1e-10)


def test_the_compiled_step_serves_inside(make_network, make_images, compiled_code):
    network = make_network(shape=(1, 8, 8), classes=4, dtype=torch.float32)
    images, labels = make_images(classes=4, shape=(1, 8, 8), dtype=torch.float32)
    spec = FlatSpec.of(network)
    batch = ExpertBatch(images, images, labels, 1.0)
    plain = dataclasses.replace(FTD, batch_size=len(labels))
    compiled = ManualExpertStep(ManualConvNetEngine(spec, Kernels.compiled()), plain, len(labels))
    ours, _, _ = SharpnessAware(compiled, 0.05, 0.3)(flatten(network), batch)
    theirs, _, _ = SharpnessAware(AutogradExpertStep(network, spec, plain), 0.05, 0.3)(flatten(network), batch)
    assert float((ours - theirs).norm()) <= 1e-4 * float(theirs.norm())


def test_it_goes_on_from_a_state_to_the_bit(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    whole = list(train_expert(network, images, labels, FTD, seed=0, expert_id=0))
    start = training.ExpertState(1, whole[1].theta, whole[1].velocity)
    rest = list(train_expert(network, images, labels, FTD, seed=0, expert_id=0, start=start))
    assert [torch.equal(one.theta, other.theta) for one, other in zip(whole[2:], rest, strict=True)] == [True, True]
