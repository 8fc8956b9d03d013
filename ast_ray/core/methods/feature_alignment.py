"""CAFE: features of every layer aligned, and real images told apart by synthetic means (Wang et al., CVPR 2022).

For the maps f_l of the present network (`Network.layers`), with weights w_l, real batches B_c and M the class means of
the last map of the synthetic images (arXiv 2203.01531):

    L = sum_l w_l sum_c || mean over B_c of f_l - mean over s_c of f_l ||^2 + beta * sum over real of CE(f(x) M^T, y)

Two queues of watched accuracies on real training images drive the loops (`watching`): one ends a network's life, the
other ends its training on the set between two updates, after `inner_limit` epochs at the latest. The accuracies are
plain means over classes; the authors' code carries a part of each into the next. Layers other than three blocks' are
our reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ast_ray.core.augmentation import NO_AUGMENTATION, apply, operations, repeated
from ast_ray.core.methods import base
from ast_ray.core.methods.base import IMAGES, Draw, Gradients, OuterOptimizer, Sources, State
from ast_ray.core.methods.class_batches import draw_class_rows, gather_classes
from ast_ray.core.methods.feature_losses import (
    class_means,
    discrimination_loss,
    layer_weights,
    mean_distance,
    mean_scale,
)
from ast_ray.core.methods.fresh import SetTraining, train_epoch
from ast_ray.core.methods.outer import LateHalving, MomentumSGD, Normalized, image_optimizer
from ast_ray.core.methods.real_matching import NETWORK, RealImages, RealMatching, advising
from ast_ray.core.methods.watching import LENGTH, pushed, settled, training_end
from ast_ray.core.parameters import call, load

QUEUE = "queue"
"""The last accuracies of its life [10], of which the state's ``queued`` first ones count."""


@dataclass(frozen=True, kw_only=True)
class Report(base.Report):
    """Loss and its two parts; networks used up, and of the iteration before: epochs of training, limits reached."""

    feature_loss: float
    discrimination_loss: float
    network: int
    inner_epochs: int
    limited: int

    def scalars(self) -> dict[str, float]:
        """See `base.Report.scalars`."""
        return {**super().scalars(), "student/networks": self.network, "student/inner_epochs": self.inner_epochs}


@dataclass(frozen=True)
class FeatureAlignment(RealMatching):
    """The problem of CAFE. The state carries the present network's weights and the accuracies of its life."""

    @property
    def outer(self) -> OuterOptimizer:
        """See `Problem.outer`: the rate is halved late in the run."""
        config = self.real.config
        lr_img, name = config.feature_alignment.lr_img, "feature_alignment.lr_img"
        rule = image_optimizer(config.distill, self.real.image_std, lr_img, name)
        return LateHalving(cast(Normalized | MomentumSGD, rule), config.distill.iterations)

    def begin(self, images: Tensor, student_lr: float) -> State:
        """See `Problem.begin`."""
        learned = {IMAGES: images.clone()}
        carried = {
            NETWORK: self.real.fresh("network", 0).to(images),
            QUEUE: torch.zeros(LENGTH, dtype=torch.float64, device=images.device),
        }
        counts = {"network": 0, "queued": 0, "inner_epochs": 0, "limited": 0}
        return State.begin({**learned, **self.outer.init(learned), **carried}, **counts)

    def gradients(self, state: State, draw: Draw) -> Gradients:
        """Return the loss and its gradient; the parts are the loss at features of zero, and the two losses."""
        real, settings = self.real, self.real.config.feature_alignment
        load(real.network, real.spec, state.tensors[NETWORK])
        rows = draw_class_rows(real.members, settings.real_batch, real.config.seed, "distill", draw.iteration, "real")
        choices = [self._augmentation(draw.iteration, label) for label in range(real.classes)]
        images = state.images.detach().requires_grad_()
        augmented = [
            apply(mine, repeated(chosen, len(mine)))
            for label, chosen in enumerate(choices)
            for mine in [real.synthetic(images, label)]
        ]
        ours = real.network.layers(torch.cat(augmented))
        goals, last, labels = self._real_layers(gather_classes(real.images, rows), choices)
        means = [class_means(found, real.labels) for found in ours]
        weights = layer_weights(len(ours))
        aligned = torch.stack(
            [weight * mean_distance(goal, mean) for weight, goal, mean in zip(weights, goals, means, strict=True)]
        ).sum()
        scale = torch.stack([weight * mean_scale(goal) for weight, goal in zip(weights, goals, strict=True)]).sum()
        told_apart = discrimination_loss(last, labels, means[-1].flatten(1), weight=settings.discrimination)
        (gradient,) = torch.autograd.grad(aligned + told_apart, images)
        loss = (aligned + told_apart).detach()
        return Gradients(loss, {IMAGES: gradient}, (scale, aligned.detach(), told_apart.detach()))

    @torch.no_grad()
    def _real_layers(self, wanted: Any, choices: Sequence[Any]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return every layer's class means [K, ...], the last map of all real images [n, F], and their classes [n]."""
        goals = list[list[Tensor]]()
        last, labels = list[Tensor](), list[Tensor]()
        for label, images in wanted.items():
            maps = self.real.network.layers(apply(images, repeated(choices[label], len(images))))
            goals.append([found.mean(0) for found in maps])
            last.append(maps[-1].flatten(1))
            labels.append(torch.full((len(images),), label, dtype=torch.int64, device=images.device))
        return [torch.stack(layer) for layer in zip(*goals, strict=True)], torch.cat(last), torch.cat(labels)

    def _augmentation(self, iteration: int, label: int) -> Any:
        if not self.real.config.feature_alignment.augmented:
            return NO_AUGMENTATION
        return self.real.shared_augmentation(iteration, label)

    def report(self, state: State, draws: Sequence[Draw], mean: Gradients) -> Report:
        """See `Problem.report`."""
        common = vars(super().report(state, draws, mean))
        return Report(
            **common,
            feature_loss=float(mean.parts[1]),
            discrimination_loss=float(mean.parts[2]),
            network=state.numbers["network"],
            inner_epochs=state.numbers["inner_epochs"],
            limited=state.numbers["limited"],
        )

    def advance(self, state: State, draws: Sequence[Draw]) -> State:
        """See `Problem.advance`: watch the network, end its life, or train it on the new images.

        Raises:
            DivergenceError: its weights stop being finite.
        """
        settings, iteration = self.real.config.feature_alignment, draws[0].iteration
        life = tuple(state.tensors[QUEUE][: state.numbers["queued"]].tolist())
        life = pushed(life, self._accuracy(state.tensors[NETWORK], iteration, 0))
        if settled(life, settings.settled):
            number = state.numbers["network"] + 1
            fresh = self.real.fresh("network", number).to(state.images)
            return state.changed({NETWORK: fresh}, network=number, queued=0, inner_epochs=0)
        theta, epochs, limited = self._trained(state, iteration)
        queue = state.tensors[QUEUE].new_tensor([*life, *[0.0] * (LENGTH - len(life))])
        counts = {"queued": len(life), "inner_epochs": epochs, "limited": state.numbers["limited"] + limited}
        return state.changed({NETWORK: theta, QUEUE: queue}, **counts)

    def _trained(self, state: State, iteration: int) -> tuple[Tensor, int, bool]:
        """Train the network until its accuracy has moved; return its weights, the epochs, and if the limit ended it."""
        real, settings = self.real, self.real.config.feature_alignment
        chosen = operations(real.config.distill.augmentation) if settings.augmented else ()
        training = SetTraining(settings.lr_net, operations=chosen)
        theta, epoch = state.tensors[NETWORK], 0
        watched = tuple[float, ...]()
        while (end := training_end(watched, epoch, spread=settings.moved, limit=settings.inner_limit)) is None:
            with advising("lower feature_alignment.lr_net"):
                theta = train_epoch(
                    real.engine, theta, state.images, real.labels, training,
                    seed=real.config.seed, iteration=iteration, epoch=epoch,
                )  # fmt: skip
            epoch += 1
            watched = pushed(watched, self._accuracy(theta, iteration, epoch))
        return theta, epoch, end == "limit"

    @torch.no_grad()
    def _accuracy(self, theta: Tensor, iteration: int, epoch: int) -> float:
        """Return the accuracy of weights [P] on random real training images, the mean over classes."""
        real, count = self.real, self.real.config.feature_alignment.query_batch
        rows = draw_class_rows(real.members, count, real.config.seed, "distill", iteration, "query", epoch)
        found = gather_classes(real.images, rows)
        shares = [
            (call(real.network, real.spec, theta, images).argmax(1) == label).double().mean()
            for label, images in found.items()
        ]
        return float(torch.stack(shares).mean())


def open_problem(sources: Sources) -> FeatureAlignment:
    """Return CAFE's problem.

    Raises:
        ValueError: no real images given.
    """
    return FeatureAlignment(RealImages.of(sources))
