"""Algorithm 1: one step by hand, a whole training against torch.optim.SGD, and what must not change."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.engines import expert_step
from ast_ray.core.experts import training as expert
from ast_ray.core.experts.training import EpochRecord, ExpertState, train_expert
from ast_ray.core.parameters import FlatSpec, flatten, load
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError

PLAIN = ExpertConfig(
    epochs=3,
    batch_size=4,
    lr=0.1,
    momentum=0.0,
    weight_decay=0.0,
    lr_decay_epoch=0,
    clip_schedule="constant",
    penalty_weight=0.0,
    augmentation="none",
)
SMOOTH = ExpertConfig(
    epochs=3, batch_size=4, lr=0.02, momentum=0.9, weight_decay=1e-2, lr_decay_epoch=1, penalty_weight=0.5
)


def _train(network, images, labels, config, *, seed=0, expert_id=0) -> list[EpochRecord]:
    return list(train_expert(network, images, labels, config, seed=seed, expert_id=expert_id))


def _order(count: int, config: ExpertConfig, epoch: int) -> list[torch.Tensor]:
    """The batches of an epoch: the first thing its stream (seed, "expert", id, "epoch", e) draws."""
    return list(torch.randperm(count, generator=stream(0, "expert", 0, "epoch", epoch)).split(config.batch_size))


def test_two_batches_by_hand_with_everything_on(make_network, make_images):
    """v <- gamma*v + eta*(g + w*theta), theta <- theta - v; lambda and eta of the epoch; penalty on clean images."""
    network, (images, labels) = make_network(), make_images()
    config = dataclasses.replace(SMOOTH, epochs=2, augmentation="none", clip_epochs=2, lr_decay_factor=0.25)
    records = _train(network, images, labels, config)

    theta, velocity, spec = flatten(network), 0.0, FlatSpec.of(network)
    for epoch, (coefficient, lr) in enumerate([(0.5, 0.02), (0.75, 0.005)]):
        losses, penalties = [], []
        for rows in _order(len(images), config, epoch):
            load(network, spec, theta)
            x = images[rows].requires_grad_()
            logits = network(x)
            (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
            penalty = ((slope.square().sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
            loss = coefficient * F.cross_entropy(network(images[rows].detach()), labels[rows]) + 0.5 * penalty
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            gradient = torch.cat([piece.flatten() for piece in gradients]) + 1e-2 * theta
            velocity = 0.9 * velocity + lr * gradient
            theta = theta - velocity
            losses.append(loss.item())
            penalties.append(penalty.item())
        record = records[epoch + 1]
        assert record.epoch == epoch + 1
        assert torch.allclose(record.theta, theta, rtol=1e-10, atol=1e-13)
        assert record.train_loss == pytest.approx(sum(losses) / len(losses))
        assert record.penalty == pytest.approx(sum(penalties) / len(penalties))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_torch_sgd_while_the_rate_is_constant(make_network, make_images, momentum):
    network, (images, labels) = make_network(), make_images(per_class=3)
    config = dataclasses.replace(PLAIN, momentum=momentum, weight_decay=1e-3)
    records = _train(network, images, labels, config)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum, weight_decay=1e-3)
    for epoch in range(config.epochs):
        for rows in _order(len(images), config, epoch):
            optimizer.zero_grad()
            F.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
        assert torch.allclose(records[epoch + 1].theta, flatten(network), rtol=1e-10, atol=1e-13)


def test_records_the_initialization_and_every_epoch(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    records = _train(network, images, labels, SMOOTH)
    assert [record.epoch for record in records] == [0, 1, 2, 3]
    assert torch.equal(records[0].theta, flatten(network))
    assert math.isnan(records[0].train_loss)
    moves = [float((a.theta - b.theta).norm()) for a, b in itertools.pairwise(records)]
    assert min(moves) > 0
    assert not any(record.theta.requires_grad for record in records)


def test_records_do_not_alias_the_live_weights(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    run = train_expert(network, images, labels, SMOOTH, seed=0, expert_id=0)
    first = next(run)
    kept = first.theta.clone()
    first.theta.zero_()  # a consumer that writes into a record does not disturb the training
    rest = list(run)
    assert torch.equal(rest[0].theta, _train(network, images, labels, SMOOTH)[1].theta)
    assert torch.equal(kept, flatten(network))


def test_the_network_is_read_never_written(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _train(network, images, labels, SMOOTH)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_same_seed_same_bytes_and_another_id_another_expert(make_network, make_images):
    network, (images, labels) = make_network(dtype=torch.float32), make_images(dtype=torch.float32)
    once, again = (_train(network, images, labels, SMOOTH)[-1].theta for _ in range(2))
    assert once.numpy().tobytes() == again.numpy().tobytes()
    for other in ({"seed": 1}, {"expert_id": 1}):
        assert not torch.equal(once, _train(network, images, labels, SMOOTH, **other)[-1].theta)


def test_no_epoch_depends_on_draws_of_the_epochs_before(make_network, make_images, monkeypatch):
    """Epoch e draws from its own stream: its batches are the same whatever the augmentations before it drew."""
    network, (images, labels) = make_network(), make_images()
    batches: list[torch.Tensor] = []
    monkeypatch.setattr(expert, "apply", lambda x, chosen: (batches.append(x), x)[1])
    for augmentation in ("none", "color"):
        _train(network, images, labels, dataclasses.replace(PLAIN, augmentation=augmentation))
    assert len(batches) == 2 * 3 * 2
    for clean, coloured in zip(batches[0:6:2], batches[6:12:2], strict=True):  # each epoch's first batch
        assert torch.equal(clean, coloured)


def test_no_penalty_no_double_backward(make_network, make_images, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the penalty was computed")

    monkeypatch.setattr(expert_step, "gradient_penalty", refuse)
    network, (images, labels) = make_network(), make_images()
    records = _train(network, images, labels, PLAIN)
    assert [record.penalty for record in records[1:]] == [0.0, 0.0, 0.0]
    with pytest.raises(AssertionError, match="the penalty was computed"):
        _train(network, images, labels, SMOOTH)


def test_the_penalty_sees_clean_images_and_the_loss_augmented_ones(make_network, make_images, monkeypatch):
    network, (images, labels) = make_network(), make_images()
    penalised, trained = [], []
    real = expert_step.gradient_penalty
    monkeypatch.setattr(
        expert_step, "gradient_penalty", lambda model, x, *rest: (penalised.append(x.clone()), real(model, x, *rest))[1]
    )
    monkeypatch.setattr(expert, "apply", lambda x, chosen: (trained.append(chosen.operation), x + 100)[1])
    _train(network, images, labels, dataclasses.replace(SMOOTH, epochs=1, augmentation="flip"))
    expected = [images[rows] for rows in _order(len(images), SMOOTH, 0)]
    assert all(torch.equal(a, b) for a, b in zip(penalised, expected, strict=True))
    assert trained == ["flip", "flip"]


def test_divergence_names_the_expert_the_epoch_and_what_to_lower(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    run = train_expert(network, images, labels, dataclasses.replace(PLAIN, lr=1e300), seed=0, expert_id=7)
    assert next(run).epoch == 0
    with pytest.raises(DivergenceError, match=r"expert 7 diverged in epoch 1 .*lower expert\.lr"):
        next(run)


def test_divergence_in_a_later_epoch(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    images[0] = float("inf")
    with pytest.raises(DivergenceError, match="epoch 1 "):
        _train(network, images, labels, PLAIN)
    images, finished = make_images()[0], []
    run = train_expert(network, images, labels, PLAIN, seed=0, expert_id=0)
    for record in run:
        finished.append(record.epoch)
        if record.epoch == 2:
            break
    images[0] = float("nan")
    with pytest.raises(DivergenceError, match="epoch 3 "):
        next(run)
    assert finished == [0, 1, 2]


def test_training_learns(make_network, make_images):
    network, (images, labels) = make_network(), make_images(per_class=4)
    config = dataclasses.replace(SMOOTH, epochs=15, lr_decay_epoch=0, augmentation="none", penalty_weight=0.05)
    losses = [record.train_loss for record in _train(network, images, labels, config)[1:]]
    assert losses[-1] < 0.5 * losses[5]  # lambda is 1 from epoch 5 on


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_training_goes_on_from_any_epoch_bit_for_bit(epoch, make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    whole = _train(network, images, labels, SMOOTH)
    at = whole[epoch]
    start = ExpertState(at.epoch, at.theta, at.velocity)
    before = at.theta.clone(), at.velocity.clone()
    rest = list(train_expert(network, images, labels, SMOOTH, seed=0, expert_id=0, start=start))
    assert [record.epoch for record in rest] == [record.epoch for record in whole[epoch + 1 :]]
    for mine, theirs in zip(rest, whole[epoch + 1 :], strict=True):
        assert torch.equal(mine.theta, theirs.theta)
        assert torch.equal(mine.velocity, theirs.velocity)
        assert (mine.train_loss, mine.penalty) == (theirs.train_loss, theirs.penalty)
    assert torch.equal(at.theta, before[0]), "the state is left as it was"
    assert torch.equal(at.velocity, before[1])
