"""Buffer phase: one expert's smooth, high-quality trajectory (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.engines.expert_step import AutogradExpertStep, ExpertBatch, ExpertStep
from ast_ray.core.experts.optimizer import beginning, updated
from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream
from ast_ray.core.smoothness import clipped_loss_coefficient
from ast_ray.errors import DivergenceError


@dataclass(frozen=True)
class ExpertState:
    """Where an expert's training can go on: theta [P] at the end of ``epoch``, and what its optimiser carries.

    ``velocity`` is v [P], or Adam's two moments [2, P].
    """

    epoch: int
    theta: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class EpochRecord:
    """The expert at the end of an epoch, as in `ExpertState`; epoch 0 is the initialisation."""

    epoch: int
    theta: Tensor
    velocity: Tensor
    train_loss: float
    penalty: float


def train_expert(
    network: Network,
    images: Images,
    labels: Tensor,
    config: ExpertConfig,
    *,
    seed: int,
    expert_id: int,
    start: ExpertState | None = None,
    step: ExpertStep | None = None,
) -> Iterator[EpochRecord]:
    """Train one expert from the network's present weights and yield theta [P] at epochs 0..E.

    With ``start`` it goes on from there and yields the epochs after it, bit for bit those of an uninterrupted run.

    SGD with momentum as the paper writes it: v <- gamma*v + eta*g; theta <- theta - v. Every epoch draws from its own
    stream (seed, "expert", id, epoch). The cross-entropy sees the augmented batch, the penalty the un-augmented one.

    Args:
        network: initialised; its parameters are read, never written.
        images: [n, C, H, W] on the device; labels: int64 [n].
        start: a state of this very expert, on the device; None = from the beginning.
        step: what computes the gradient of L_SC (Eq. 19); None = autograd.

    Raises:
        DivergenceError: a loss or weight stopped being finite; names the epoch and what to lower.
    """
    theta = flatten(network)
    step = step or AutogradExpertStep(network, FlatSpec.of(network), config)
    velocity, begin = beginning(theta, config), 0
    if start is None:
        yield EpochRecord(0, theta.clone(), velocity.clone(), float("nan"), float("nan"))
    else:
        theta, velocity, begin = start.theta.clone(), start.velocity.clone(), start.epoch
    for epoch in range(begin, config.epochs):
        lr, coefficient = learning_rate(epoch, config), clipped_loss_coefficient(epoch, config)
        losses, penalties = [], []
        generator = stream(seed, "expert", expert_id, "epoch", epoch)
        batches = torch.randperm(len(images), generator=generator).split(config.batch_size)
        for number, batch in enumerate(batches, epoch * len(batches) + 1):
            index = batch.to(images.device)
            x, size = images[index], (images.shape[2], images.shape[3])
            augmented = apply(x, draw(operations(config.augmentation), len(x), size, generator))
            gradient, loss, penalty = step(theta, ExpertBatch(x, augmented, labels[index], coefficient))
            theta = updated(theta, gradient, velocity, config, lr=lr, step=number)
            losses.append(loss)
            penalties.append(penalty)
        train_loss = float(torch.stack(losses).mean())
        require_finite(train_loss, theta, expert_id, epoch + 1)
        mean_penalty = float(torch.stack(penalties).mean())
        yield EpochRecord(epoch + 1, theta.clone(), velocity.clone(), train_loss, mean_penalty)


def learning_rate(epoch: int, config: ExpertConfig) -> float:
    """Return eta of an epoch: scaled once, at ``lr_decay_epoch``."""
    decayed = config.lr_decay_epoch and epoch >= config.lr_decay_epoch
    return config.lr * (config.lr_decay_factor if decayed else 1.0)


def require_finite(train_loss: float, theta: Tensor, expert_id: int, epoch: int) -> None:
    """Raise `DivergenceError` unless the epoch's mean loss and theta [P] are finite."""
    if torch.isfinite(theta).all() and train_loss == train_loss and abs(train_loss) != float("inf"):
        return
    reason = f"expert {expert_id} diverged in epoch {epoch} (mean loss {train_loss:g})"
    advice = "lower expert.lr, expert.momentum or expert.penalty_weight"
    raise DivergenceError(f"{reason}; {advice}", reason=reason, advice=advice)
