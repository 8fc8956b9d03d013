"""One update by hand, Adam against torch's, and both from the middle of a training."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.experts import optimizer
from ast_ray.core.experts.training import ExpertState, train_expert, train_experts_together
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream

ADAM = ExpertConfig(
    optimizer="adam", epochs=3, batch_size=4, lr=0.01, weight_decay=1e-2, lr_decay_epoch=1, penalty_weight=0.1
)


def test_momentum_by_hand():
    config = ExpertConfig(momentum=0.5, weight_decay=0.1)
    theta, carried = torch.tensor([1.0, -2.0]), optimizer.init(torch.zeros(2), config)
    theta = optimizer.update(theta, torch.tensor([0.4, 0.2]), carried, config, lr=0.1, step=1)
    assert torch.allclose(carried, torch.tensor([0.05, 0.0]))
    assert torch.allclose(theta, torch.tensor([0.95, -2.0]))
    theta = optimizer.update(theta, torch.tensor([0.0, 0.0]), carried, config, lr=0.1, step=2)
    assert torch.allclose(carried, torch.tensor([0.025 + 0.0095, -0.02]))


@pytest.mark.parametrize("shape", [(6,), (3, 6)])
def test_adam_is_torchs(shape):
    noise = stream(0, "test")
    start = torch.randn(shape, generator=noise, dtype=torch.float64)
    theirs = start.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    ours, carried = start.clone(), optimizer.init(start, ADAM)
    assert carried.shape == (*shape[:-1], 2, 6)
    for step in range(1, 8):
        gradient = torch.randn(shape, generator=noise, dtype=torch.float64)
        theirs.grad = gradient.clone()
        adam.step()
        ours = optimizer.update(ours, gradient.clone(), carried, ADAM, lr=0.01, step=step)
        assert torch.allclose(ours, theirs.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_training_with_adam_goes_on_from_any_epoch_bit_for_bit(epoch, make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    whole = list(train_expert(network, images, labels, ADAM, seed=0, expert_id=0))
    start = ExpertState(epoch, whole[epoch].theta, whole[epoch].velocity)
    rest = list(train_expert(network, images, labels, ADAM, seed=0, expert_id=0, start=start))
    for mine, theirs in zip(rest, whole[epoch + 1 :], strict=True):
        assert torch.equal(mine.theta, theirs.theta)
        assert torch.equal(mine.velocity, theirs.velocity)


def test_experts_with_adam_trained_together_are_those_trained_one_at_a_time(make_network, make_images):
    images, labels = make_images(per_class=3)
    networks = [make_network(), make_network()]
    found = list(train_experts_together(networks, images, labels, ADAM, seed=4, expert_ids=(0, 5)))
    assert found[0][5].velocity.shape == (2, FlatSpec.of(networks[0]).numel)
    for number, network in zip((0, 5), networks, strict=True):
        alone = list(train_expert(network, images, labels, ADAM, seed=4, expert_id=number))
        for expected, epoch in zip(alone, found, strict=True):
            assert torch.allclose(epoch[number].theta, expected.theta, rtol=1e-8, atol=1e-10)
    states = [ExpertState(1, found[1][number].theta, found[1][number].velocity) for number in (0, 5)]
    rest = list(train_experts_together(networks, images, labels, ADAM, seed=4, expert_ids=(0, 5), starts=states))
    assert torch.equal(rest[-1][5].theta, found[-1][5].theta)


def test_the_rate_of_an_epoch_counts(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    slow, fast = (
        list(train_expert(network, images, labels, dataclasses.replace(ADAM, lr=lr), seed=0, expert_id=0))
        for lr in (1e-4, 1e-2)
    )
    assert float((slow[1].theta - slow[0].theta).norm()) < 0.05 * float((fast[1].theta - fast[0].theta).norm())
