"""Train fresh networks, one or several at once, on a small set and score them on real images (Sec. V-A)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import EvaluateConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.vmapped import batches, call_stacked, gather_images, stack
from ast_ray.errors import DivergenceError


@dataclass(frozen=True)
class Trend:
    """Training accuracy in [0, 1] over the last eighth of the passes, and over the eighth before it."""

    before: float
    last: float


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy in [0, 1] and mean cross-entropy on real images; ``trend`` of the training, if it was watched."""

    accuracy: float
    loss: float
    trend: Trend | None = None


class TrainingAccuracy:
    """Record of how many images a network in training answers correctly, per pass, augmented as it is trained on.

    Nothing leaves the device until `trend`, and the training's own values are only read.
    """

    def __init__(self) -> None:
        self._correct: list[Tensor] = []
        self._seen: list[int] = []

    def add(self, number: int, logits: Tensor, labels: Tensor) -> None:
        """Count one batch of pass ``number`` (from 0): logits [B, K], labels int64 [B]."""
        correct = (logits.detach().argmax(1) == labels).sum()
        if number == len(self._correct):
            self._correct.append(correct)
            self._seen.append(len(labels))
        else:
            self._correct[number] += correct
            self._seen[number] += len(labels)

    def trend(self) -> Trend | None:
        """Return the trend at the end; None after fewer than two passes."""
        passes = len(self._correct)
        window = max(1, passes // 8)
        if passes < 2 * window:
            return None
        correct = torch.stack(self._correct).tolist()

        def share(start: int) -> float:
            return float(sum(correct[start : start + window]) / sum(self._seen[start : start + window]))

        return Trend(share(passes - 2 * window), share(passes - window))


# Factor on the learning rate after pass 500 of 1000 (MTT's evaluation; AST, Sec. V-A).
_PUBLISHED_DECAY = {"mtt": 0.1, "ast": 0.5}


@dataclass(frozen=True)
class TrainingRecipe:
    """The training of a network in evaluation: SGD with momentum, the rate scaled once at ``lr_decay_pass``."""

    lr: float
    passes: int
    batch_size: int
    momentum: float
    weight_decay: float
    lr_decay_pass: int
    lr_decay_factor: float
    augmentation: str
    siamese: bool = False

    @classmethod
    def of(
        cls, config: EvaluateConfig, *, lr: float, augmentation: str, siamese: bool = False, protocol: str = "strict"
    ) -> TrainingRecipe:
        """The recipe of a protocol; ``evaluate.lr`` overrides the given (learned) rate when it is not 0.

        ``strict`` and ``peak`` are the settings'; ``no-augmentation`` is strict without DSA; ``mtt`` and ``ast`` are
        the published ones, whatever the settings say.
        """
        if protocol == "no-augmentation":
            augmentation = "none"
        if protocol in _PUBLISHED_DECAY:
            published = cls(config.lr or lr, 1000, 256, 0.9, 5e-4, 500, _PUBLISHED_DECAY[protocol], augmentation)
            return replace(published, siamese=siamese)
        return cls(
            lr=config.lr or lr,
            passes=config.passes,
            batch_size=config.batch_size,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            lr_decay_pass=config.lr_decay_pass,
            lr_decay_factor=config.lr_decay_factor,
            augmentation=augmentation,
            siamese=siamese,
        )


def train_network(
    network: Network,
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    generator: torch.Generator,
    *,
    after_pass: Callable[[int], None] | None = None,
    watch: TrainingAccuracy | None = None,
) -> None:
    """Train the network in place on images [n, C, H, W], labels int64 [n].

    ``after_pass`` is called with the number of passes done, after each; it may look at the network, not change it.
    ``watch`` records the training accuracy.

    Raises:
        DivergenceError: the last loss is not finite.
    """
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    names, size = operations(recipe.augmentation), (images.shape[2], images.shape[3])
    loss = torch.zeros(())
    for number in range(recipe.passes):
        if recipe.lr_decay_pass and number == recipe.lr_decay_pass:
            optimizer.param_groups[0]["lr"] = recipe.lr * recipe.lr_decay_factor
        for rows in torch.randperm(len(images), generator=generator).split(recipe.batch_size):
            index = rows.to(images.device)
            chosen = draw(names, len(index), size, generator, siamese=recipe.siamese)
            logits = network(apply(images[index], chosen))
            loss = F.cross_entropy(logits, labels[index])
            if watch is not None:
                watch.add(number, logits, labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if after_pass is not None:
            after_pass(number + 1)
            network.train()
    require_finite_loss(loss.item(), recipe)


def require_finite_loss(loss: float, recipe: TrainingRecipe, *, network: int | None = None) -> None:
    """Refuse a network whose last training loss says that it diverged; ``network`` is its number where it has one.

    Raises:
        DivergenceError: not finite.
    """
    if not math.isfinite(loss):
        whose = "" if network is None else f" of network {network}"
        raise DivergenceError(f"evaluation diverged: training loss {loss}{whose} with learning rate {recipe.lr:.3g}")


@torch.no_grad()
def score(network: Network, images: Images, labels: Tensor, *, batch_size: int = 500) -> Score:
    """Top-1 accuracy and loss on real images [n, C, H, W], labels int64 [n]."""
    network.eval()
    correct, loss = 0, 0.0
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        logits = network(x)
        correct += int((logits.argmax(1) == y).sum())
        loss += float(F.cross_entropy(logits, y, reduction="sum"))
    return Score(correct / len(labels), loss / len(labels))


def train_networks_together(
    networks: Sequence[Network],
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    generators: Sequence[torch.Generator],
    watches: Sequence[TrainingAccuracy] = (),
) -> list[float]:
    """Train the networks in place on images [n, C, H, W], labels int64 [n], each with its own generator's draws.

    Equal to one after the other to float tolerance. Networks must be functions of their parameters alone
    (`core.vmapped.is_stateless`). Returns the last loss of each: one that is not finite is that network's divergence
    (`core.training.require_finite_loss`) and leaves the others as they would have been. ``watches`` record each
    network's training accuracy; empty for none.
    """
    template, spec = networks[0].train(), FlatSpec.of(networks[0])
    theta = stack(networks).requires_grad_()
    optimizer = torch.optim.SGD(
        [theta], lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    names, size = operations(recipe.augmentation), (images.shape[2], images.shape[3])
    losses = torch.zeros(len(networks))
    for number in range(recipe.passes):
        if recipe.lr_decay_pass and number == recipe.lr_decay_pass:
            optimizer.param_groups[0]["lr"] = recipe.lr * recipe.lr_decay_factor
        for rows in batches(len(images), recipe.batch_size, generators):
            index = rows.to(images.device)
            draws = [draw(names, rows.shape[1], size, own, siamese=recipe.siamese) for own in generators]
            own_batches = zip(gather_images(images, index), draws, strict=True)
            x = torch.stack([apply(batch, chosen) for batch, chosen in own_batches])
            logits = call_stacked(template, spec, theta, x)
            if watches:
                for watch, answers, chosen_labels in zip(watches, logits, labels[index], strict=True):
                    watch.add(number, answers, chosen_labels)
            entropy = F.cross_entropy(logits.flatten(0, 1), labels[index].flatten(), reduction="none")
            losses = entropy.unflatten(0, index.shape).mean(1)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
    for network, weights in zip(networks, theta.detach(), strict=True):
        load(network, spec, weights)
    return losses.tolist()
