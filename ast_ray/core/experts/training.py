"""Expert training (Algorithm 1): one network, or several at once on one device, with the same result for each.

Experts that are trained at once keep their own streams, batches and augmentations; only the arithmetic is shared
(`core.vmapped`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.engines.expert_step import AutogradExpertStep, ExpertBatch, ExpertStep
from ast_ray.core.experts import optimizer
from ast_ray.core.experts.sharpness import SharpnessAware, ascent, direction
from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.precision import autocast
from ast_ray.core.rng import stream
from ast_ray.core.smoothness import clipped_loss_coefficient, gradient_penalties
from ast_ray.core.vmapped import batches, call_stacked, gather_images, stack
from ast_ray.errors import DivergenceError


@dataclass(frozen=True)
class ExpertState:
    """The state from which an expert's training resumes: theta [P] at the end of ``epoch``, and its optimiser's state.

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
        step: what computes the gradient of L_SC (Eq. 19); None = autograd. With ``sharpness_rho`` it is asked twice a
            batch (`core.experts.sharpness`).

    Raises:
        DivergenceError: a loss or weight stopped being finite; names the epoch and what to lower.
    """
    theta = flatten(network)
    step = step or AutogradExpertStep(network, FlatSpec.of(network), config)
    if config.sharpness_rho:
        step = SharpnessAware(step, config.sharpness_rho, config.sharpness_alpha)
    velocity, begin = optimizer.init(theta, config), 0
    if start is None:
        yield EpochRecord(0, theta.clone(), velocity.clone(), float("nan"), float("nan"))
    else:
        theta = start.theta.clone()
        velocity = start.velocity.clone()
        begin = start.epoch
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
            theta = optimizer.update(theta, gradient, velocity, config, lr=lr, step=number)
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


Outcome = EpochRecord | DivergenceError


def train_experts_together(
    networks: Sequence[Network],
    images: Images,
    labels: Tensor,
    config: ExpertConfig,
    *,
    seed: int,
    expert_ids: Sequence[int],
    starts: Sequence[ExpertState] | None = None,
) -> Iterator[dict[int, Outcome]]:
    """Yield, for epochs 0..E, every expert's record by its number; trajectories as one at a time to float tolerance.

    An expert that diverges gives its error in place of a record, once, and leaves; the others go on as they would
    have. The iteration ends early when none is left.

    Args:
        networks: one per expert, initialised; read, never written.
        images: [n, C, H, W] on the device; labels: int64 [n].
        starts: states of these experts, all at one epoch; epochs after it are yielded.
    """
    network = networks[0]
    spec = FlatSpec.of(networks[0])
    ids = list(expert_ids)
    theta = stack(networks)
    velocity, begin = optimizer.init(theta, config), 0
    if starts is None:
        unknown = torch.full((len(ids),), float("nan"))
        yield dict(zip(ids, _records(0, theta, velocity, unknown, unknown), strict=True))
    else:
        theta, velocity = torch.stack([s.theta for s in starts]), torch.stack([s.velocity for s in starts])
        begin = starts[0].epoch
    for epoch in range(begin, config.epochs):
        generators = [stream(seed, "expert", number, "epoch", epoch) for number in ids]
        theta, losses, penalties = _epoch(network, spec, theta, velocity, images, labels, config, epoch, generators)
        records = _records(epoch + 1, theta, velocity, losses, penalties)
        outcomes = {number: _judged(number, record) for number, record in zip(ids, records, strict=True)}
        alive = [place for place, number in enumerate(ids) if isinstance(outcomes[number], EpochRecord)]
        yield outcomes
        if len(alive) < len(ids):
            ids = [ids[place] for place in alive]
            theta = theta[alive]
            velocity = velocity[alive]
        if not ids:
            return


def _epoch(
    network: Network,
    spec: FlatSpec,
    theta: Tensor,
    velocity: Tensor,
    images: Images,
    labels: Tensor,
    config: ExpertConfig,
    epoch: int,
    generators: Sequence[torch.Generator],
) -> tuple[Tensor, Tensor, Tensor]:
    """Theta [E, P] after an epoch, mean losses [E] and penalties [E]; the velocity is updated in place."""
    coefficient, lr = clipped_loss_coefficient(epoch, config), learning_rate(epoch, config)
    losses, penalties = [], []
    done = epoch * -(-len(images) // config.batch_size)
    for step, rows in enumerate(batches(len(images), config.batch_size, generators), done + 1):
        index = rows.to(images.device)
        x = gather_images(images, index)
        batch = ExpertBatch(x, _augmented(x, config, generators), labels[index], coefficient)
        gradient, loss, penalty = _gradients(network, spec, theta, batch, config)
        if config.sharpness_rho:
            moved = theta + ascent(theta, gradient, config.sharpness_rho)
            perturbed, _, _ = _gradients(network, spec, moved, batch, config)
            gradient = direction(gradient, perturbed, config.sharpness_alpha)
        theta = optimizer.update(theta, gradient, velocity, config, lr=lr, step=step)
        losses.append(loss)
        penalties.append(penalty)
    return theta, torch.stack(losses).mean(0).cpu(), torch.stack(penalties).mean(0).cpu()


def _augmented(x: Tensor, config: ExpertConfig, generators: Sequence[torch.Generator]) -> Tensor:
    """Batches [E, B, C, H, W], augmented by one draw of each expert's own."""
    names = operations(config.augmentation)
    size = (x.shape[3], x.shape[4])
    return torch.stack(
        [apply(own, draw(names, len(own), size, generator)) for own, generator in zip(x, generators, strict=True)]
    )


def _gradients(
    network: Network, spec: FlatSpec, theta: Tensor, batch: ExpertBatch, config: ExpertConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Every expert's gradient [E, P] at theta [E, P], L_SC and penalty [E], without a graph."""
    theta = theta.detach().requires_grad_()
    loss, penalty = _losses(network, spec, theta, batch, config)
    (gradient,) = torch.autograd.grad(loss.sum(), theta)
    return gradient, loss.detach(), penalty.detach()


def _losses(
    network: Network, spec: FlatSpec, theta: Tensor, batch: ExpertBatch, config: ExpertConfig
) -> tuple[Tensor, Tensor]:
    """(L_SC, penalty), both [E], of batches whose tensors begin with the experts' dimension."""
    x, y = batch.images, batch.labels
    shape = x.shape[:2]
    with autocast(config.expert_precision, x.device):
        logits = call_stacked(network, spec, theta, batch.augmented).to(theta.dtype)
    entropy = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").unflatten(0, shape)
    loss = batch.coefficient * entropy.mean(1)
    if config.penalty_weight == 0:
        return loss, torch.zeros_like(loss)

    def model(flat: Tensor) -> Tensor:
        with autocast(config.expert_precision, flat.device):
            logits = call_stacked(network, spec, theta, flat.unflatten(0, shape))
        return logits.flatten(0, 1).to(theta.dtype)

    penalty = gradient_penalties(model, x.flatten(0, 1), y.flatten(), config).unflatten(0, shape).flatten(1).mean(1)
    return loss + config.penalty_weight * penalty, penalty


def _records(epoch: int, theta: Tensor, velocity: Tensor, losses: Tensor, penalties: Tensor) -> list[EpochRecord]:
    values = zip(theta.detach(), velocity, losses.tolist(), penalties.tolist(), strict=True)
    return [EpochRecord(epoch, weights.clone(), v.clone(), loss, penalty) for weights, v, loss, penalty in values]


def _judged(expert_id: int, record: EpochRecord) -> Outcome:
    try:
        require_finite(record.train_loss, record.theta, expert_id, record.epoch)
    except DivergenceError as error:
        return error
    return record
