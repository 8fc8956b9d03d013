"""Networks inside a distillation: fresh weights from a stream, and their training on the synthetic set.

DC, DSA and CAFE train a network on the set as it grows, by plain SGD; DM sees untrained networks alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.core.augmentation import apply, draw
from ast_ray.core.engines.autograd import Engine, StepData
from ast_ray.core.networks import Network, initialize
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError


def fresh_weights(network: Network, generator: torch.Generator) -> Tensor:
    """Draw the weights [P] of a new network of this layout, on the network's device and in its type.

    Equal to `core.networks.build` with the same generator, whatever the device; the network itself is not changed.
    """
    like = next(network.parameters())
    drawn = copy.deepcopy(network).to("cpu", torch.float32)
    initialize(drawn, generator)
    return flatten(drawn).to(like)


@dataclass(frozen=True)
class SetTraining:
    """The training of a network on the synthetic set: SGD at rate ``lr`` on the mean cross-entropy.

    No momentum and no decay. An epoch goes through the set once in batches of ``batch_size``; ``operations`` of DSA
    augment each batch, one operation per batch and its parameters per sample; none by default.
    """

    lr: float
    batch_size: int = 256
    operations: tuple[str, ...] = ()


def train_epoch(
    engine: Engine,
    theta: Tensor,
    images: Tensor,
    labels: Tensor,
    training: SetTraining,
    *,
    seed: int,
    iteration: int,
    epoch: int,
) -> Tensor:
    """Train the weights theta [P] for one epoch on images [S, C, H, W] with labels int64 [S]; return the new ones [P].

    Order and augmentation come from ``stream(seed, "distill", iteration, "epoch", epoch)``; theta is not changed.

    Raises:
        DivergenceError: a weight would stop being finite.
    """
    generator, size = stream(seed, "distill", iteration, "epoch", epoch), (images.shape[2], images.shape[3])
    for rows in torch.randperm(len(images), generator=generator).split(training.batch_size):
        index = rows.to(images.device)
        chosen = draw(training.operations, len(index), size, generator)
        data = StepData(apply(images[index], chosen), labels[index], None, 1.0)
        gradient, _ = engine.gradient(theta, data, keep=False)
        theta = theta - training.lr * gradient
    if not torch.isfinite(theta).all():
        raise DivergenceError(
            f"weights stopped being finite in epoch {epoch} of the network's training on the synthetic set"
            f" (iteration {iteration}, learning rate {training.lr:g})"
        )
    return theta


def train_on_set(
    engine: Engine,
    theta: Tensor,
    images: Tensor,
    labels: Tensor,
    training: SetTraining,
    *,
    epochs: int,
    seed: int,
    iteration: int,
) -> Tensor:
    """Train the weights theta [P] for epochs 0..epochs-1 of one iteration; see `train_epoch`."""
    for epoch in range(epochs):
        theta = train_epoch(engine, theta, images, labels, training, seed=seed, iteration=iteration, epoch=epoch)
    return theta
