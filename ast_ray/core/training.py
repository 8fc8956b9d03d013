"""Train fresh networks, one or several at once, on a small set and score them on real images (Sec. V-A)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import EvaluateConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.synthetic_set import TargetLoss, hard_labels
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
        """Count one batch of pass ``number`` (from 0): logits [B, K], labels int64 [B] or float [B, K]."""
        labels = labels if labels.ndim == 1 else labels.argmax(1)
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
# Optimizer steps by the number of images (FRePo's evaluation); other numbers take those of the nearest by ratio.
_FREPO_STEPS = {10: 1000, 100: 2000, 200: 20000, 400: 5000, 500: 5000, 1000: 10000, 2000: 40000, 5000: 40000}
_WARM_UP = 500
_LAST_RATE = 0.01
# Protocols whose rate is their own, neither learned with a set nor given by the settings.
FIXED_RATE = ("dc", "frepo")


@dataclass(frozen=True)
class TrainingRecipe:
    """The training of a network in evaluation.

    ``sgd``: with momentum, ``passes`` passes, the rate scaled once at ``lr_decay_pass``. ``adam``: as many steps as
    FRePo takes on so many images, the rate rising linearly over the first 500 and falling by a cosine to 1 % after
    them; ``passes`` is 0, and momentum and decay of the rate are not looked at. ``loss`` is the mean cross-entropy, or
    ``mse``, the mean of 1/2 ||output - target||^2, where a hard label stands for its one-hot row minus 1/K.
    """

    lr: float
    passes: int
    batch_size: int
    momentum: float
    weight_decay: float
    lr_decay_pass: int
    lr_decay_factor: float
    augmentation: str
    siamese: bool = False
    optimizer: Literal["sgd", "adam"] = "sgd"
    loss: TargetLoss = "ce"

    @classmethod
    def of(
        cls, config: EvaluateConfig, *, lr: float, augmentation: str, siamese: bool = False, protocol: str = "strict"
    ) -> TrainingRecipe:
        """The recipe of a protocol; ``evaluate.lr`` overrides the given (learned) rate when it is not 0.

        ``strict`` and ``peak`` are the settings'; ``no-augmentation`` is strict without DSA; ``mtt`` and ``ast`` are
        the published ones, whatever the settings say. So are, with rates of their own:

        ``dc`` (DC, arXiv 2006.05929): SGD at 0.01, x0.1 after 151 of 300 passes, no augmentation.
        ``frepo`` (FRePo, arXiv 2206.00719): Adam at 3e-4, 500 warm-up steps, cosine to 1 %, batches of 500, squared
        error. Its own six augmentations are replaced by the set's DSA operations, drawn per image; its networks are
        those of the settings, not its own without norm layers; the number is that after the last step, not the best
        on the test set.
        """
        if protocol == "no-augmentation":
            augmentation = "none"
        if protocol in _PUBLISHED_DECAY:
            published = cls(config.lr or lr, 1000, 256, 0.9, 5e-4, 500, _PUBLISHED_DECAY[protocol], augmentation)
            return replace(published, siamese=siamese)
        if protocol == "dc":
            return cls(0.01, 300, 256, 0.9, 5e-4, 151, 0.1, "none")
        if protocol == "frepo":
            return cls(3e-4, 0, 500, 0.0, 0.0, 0, 1.0, augmentation, optimizer="adam", loss="mse")
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

    def steps(self, images: int) -> int:
        """Optimizer steps on so many images."""
        if self.optimizer == "sgd":
            return self.passes * -(-images // self.batch_size)
        return _FREPO_STEPS[min(_FREPO_STEPS, key=lambda known: abs(math.log(known / images)))]

    def passes_over(self, images: int) -> int:
        """Passes over so many images that those steps take; the last one may end early."""
        return self.passes if self.optimizer == "sgd" else -(-self.steps(images) // -(-images // self.batch_size))

    def rate(self, step: int, images: int) -> float:
        """Learning rate of step ``step``, from 0, on so many images."""
        if self.optimizer == "sgd":
            late = self.lr_decay_pass and step >= self.lr_decay_pass * -(-images // self.batch_size)
            return self.lr * self.lr_decay_factor if late else self.lr
        if step < _WARM_UP:
            return self.lr * step / _WARM_UP
        falling = math.cos(math.pi * (step - _WARM_UP) / (self.steps(images) - _WARM_UP))
        return self.lr * (_LAST_RATE + (1 - _LAST_RATE) * (1 + falling) / 2)

    def begin(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """Return the optimizer of so many parameters, stacked ones of several networks among them."""
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        return torch.optim.SGD(
            parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True
        )

    def loss_of(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Mean loss of B images: logits [B, K], answers int64 [B] or float [B, K]."""
        return F.cross_entropy(logits, answers) if self.loss == "ce" else self.losses(logits, answers).mean()

    def losses(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Loss [B] of each of B images."""
        if self.loss == "ce":
            return F.cross_entropy(logits, answers, reduction="none")
        if answers.ndim == 1:
            answers = F.one_hot(answers, logits.shape[1]).to(logits) - 1 / logits.shape[1]
        return (logits - answers).square().sum(1) / 2


def answers_of(labels: Tensor, targets: Tensor | None, target_loss: TargetLoss, protocol: str = "strict") -> Tensor:
    """Return the answers a set's networks are trained on under a protocol: classes int64 [S], or float [S, K].

    Assigned probabilities (``ce``) are part of a set, so that every protocol trains on them but ``dc``, which knows
    hard labels alone; ``frepo`` takes 1/K off them, as off one-hot rows. Learned targets (``mse``) are for ``frepo``;
    elsewhere the largest entry is the label, so that methods compare on equal terms.
    """
    if targets is None or protocol == "dc" or (target_loss == "mse" and protocol != "frepo"):
        return hard_labels(labels, targets, target_loss)
    return targets - 1 / targets.shape[1] if protocol == "frepo" and target_loss == "ce" else targets


def train_network(
    network: Network,
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    generator: torch.Generator,
    *,
    after_pass: Callable[[int], None] | None = None,
    watch: TrainingAccuracy | None = None,
) -> float:
    """Train the network in place on images [n, C, H, W], labels int64 [n] or float [n, K] (`answers_of`).

    Returns the last loss: one that is not finite is the network's divergence (`require_finite_loss`). ``after_pass`` is
    called with the number of passes done, after each; it may look at the network, not change it. ``watch`` records the
    training accuracy.
    """
    network.train()
    optimizer = recipe.begin(list(network.parameters()))
    names, size = operations(recipe.augmentation), (images.shape[2], images.shape[3])
    loss = torch.zeros(())
    step, count = 0, len(images)
    for number in range(recipe.passes_over(count)):
        for rows in torch.randperm(count, generator=generator).split(recipe.batch_size):
            if step == recipe.steps(count):
                break
            optimizer.param_groups[0]["lr"] = recipe.rate(step, count)
            index = rows.to(images.device)
            chosen = draw(names, len(index), size, generator, siamese=recipe.siamese)
            logits = network(apply(images[index], chosen))
            loss = recipe.loss_of(logits, labels[index])
            if watch is not None:
                watch.add(number, logits, labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        if after_pass is not None:
            after_pass(number + 1)
            network.train()
    return loss.item()


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
    """Train the networks in place on images [n, C, H, W], each with its own generator's draws.

    Labels are int64 [n] or float [n, K] (`answers_of`).

    Equal to one after the other to float tolerance. Networks must be functions of their parameters alone
    (`core.vmapped.is_stateless`). Returns the last loss of each: one that is not finite is that network's divergence
    (`require_finite_loss`) and leaves the others as they would have been. ``watches`` record each
    network's training accuracy; empty for none.
    """
    template, spec = networks[0].train(), FlatSpec.of(networks[0])
    theta = stack(networks).requires_grad_()
    optimizer = recipe.begin([theta])
    names, size = operations(recipe.augmentation), (images.shape[2], images.shape[3])
    losses = torch.zeros(len(networks))
    step, count = 0, len(images)
    for number in range(recipe.passes_over(count)):
        for rows in batches(count, recipe.batch_size, generators):
            if step == recipe.steps(count):
                break
            optimizer.param_groups[0]["lr"] = recipe.rate(step, count)
            index = rows.to(images.device)
            draws = [draw(names, rows.shape[1], size, own, siamese=recipe.siamese) for own in generators]
            own_batches = zip(gather_images(images, index), draws, strict=True)
            x = torch.stack([apply(batch, chosen) for batch, chosen in own_batches])
            logits = call_stacked(template, spec, theta, x)
            if watches:
                for watch, answers, chosen_labels in zip(watches, logits, labels[index], strict=True):
                    watch.add(number, answers, chosen_labels)
            each = recipe.losses(logits.flatten(0, 1), labels[index].flatten(0, 1))
            losses = each.unflatten(0, index.shape).mean(1)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            step += 1
    for network, weights in zip(networks, theta.detach(), strict=True):
        load(network, spec, weights)
    return losses.tolist()
