"""Buffer phase: one expert's smooth, high-quality trajectory (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.flat_params import FlatSpec, call, flatten
from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.rng import stream
from ast_ray.core.smoothness import clipped_loss_coefficient, gradient_penalty
from ast_ray.errors import DivergenceError


@dataclass(frozen=True)
class ExpertState:
    """Where an expert's training can go on: theta and velocity v, each [P], at the end of ``epoch``."""

    epoch: int
    theta: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class EpochRecord:
    """The expert at the end of an epoch, with its velocity [P]; epoch 0 is the initialisation."""

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
) -> Iterator[EpochRecord]:
    """Train one expert from the network's present weights and yield theta [P] at epochs 0..E.

    With ``start`` it goes on from there and yields the epochs after it, bit for bit those of an uninterrupted run.

    SGD with momentum as the paper writes it: v <- gamma*v + eta*g; theta <- theta - v. Every epoch draws from its own
    stream (seed, "expert", id, epoch). The cross-entropy sees the augmented batch, the penalty the un-augmented one.

    Args:
        network: initialised; its parameters are read, never written.
        images: [n, C, H, W] on the device; labels: int64 [n].
        start: a state of this very expert, on the device; None = from the beginning.

    Raises:
        DivergenceError: a loss or weight stopped being finite; names the epoch and what to lower.
    """
    spec, theta = FlatSpec.of(network), flatten(network)
    velocity, begin = torch.zeros_like(theta), 0
    if start is None:
        yield EpochRecord(0, theta.clone(), velocity.clone(), float("nan"), float("nan"))
    else:
        theta, velocity, begin = start.theta.clone(), start.velocity.clone(), start.epoch
    for epoch in range(begin, config.epochs):
        lr, coefficient = learning_rate(epoch, config), clipped_loss_coefficient(epoch, config)
        losses, penalties = [], []
        generator = stream(seed, "expert", expert_id, "epoch", epoch)
        for batch in torch.randperm(len(images), generator=generator).split(config.batch_size):
            index = batch.to(images.device)
            theta.requires_grad_()
            loss, penalty = _losses(network, spec, theta, images[index], labels[index], config, coefficient, generator)
            (gradient,) = torch.autograd.grad(loss, theta)
            with torch.no_grad():
                gradient.add_(theta, alpha=config.weight_decay)
                velocity.mul_(config.momentum).add_(gradient, alpha=lr)
                theta = theta.detach() - velocity
            losses.append(loss.detach())
            penalties.append(penalty.detach())
        train_loss = float(torch.stack(losses).mean())
        require_finite(train_loss, theta, expert_id, epoch + 1)
        mean_penalty = float(torch.stack(penalties).mean())
        yield EpochRecord(epoch + 1, theta.clone(), velocity.clone(), train_loss, mean_penalty)


def learning_rate(epoch: int, config: ExpertConfig) -> float:
    """Return eta of an epoch: scaled once, at ``lr_decay_epoch``."""
    decayed = config.lr_decay_epoch and epoch >= config.lr_decay_epoch
    return config.lr * (config.lr_decay_factor if decayed else 1.0)


def _losses(
    network: Network,
    spec: FlatSpec,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    config: ExpertConfig,
    coefficient: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return (L_SC, penalty) of one batch (Eq. 19); mu = 0 skips the penalty and its double backward."""
    chosen = draw(operations(config.augmentation), len(x), (x.shape[2], x.shape[3]), generator)
    loss = coefficient * F.cross_entropy(call(network, spec, theta, apply(x, chosen)), y)
    if config.penalty_weight == 0:
        return loss, torch.zeros_like(loss)
    penalty = gradient_penalty(lambda images: call(network, spec, theta, images), x, y, config)
    return loss + config.penalty_weight * penalty, penalty


def require_finite(train_loss: float, theta: Tensor, expert_id: int, epoch: int) -> None:
    """Raise `DivergenceError` unless the epoch's mean loss and theta [P] are finite."""
    if torch.isfinite(theta).all() and train_loss == train_loss and abs(train_loss) != float("inf"):
        return
    raise DivergenceError(
        f"expert {expert_id} diverged in epoch {epoch} (mean loss {train_loss:g}); "
        "lower expert.lr, expert.momentum or expert.penalty_weight"
    )
