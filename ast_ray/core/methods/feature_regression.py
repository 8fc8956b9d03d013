"""FRePo: real images predicted from synthetic ones by ridge regression on features (NeurIPS 2022; arXiv 2206.00719).

An iteration draws one member of a pool of networks (`pool`), real images of any class, and learns images s and label
distributions Y together:

    L = mean_t 1/2 || pred_t - y_t ||^2 - mean_j min(Y_j(1) - Y_j(2), 1/K)        (pred: `ridge`, y: `learned_labels`)

Both move by LAMB at one rate that falls by a cosine, so ``distill.outer`` plays no part. With ``flip`` the images are
joined by their mirror images inside the loss. The published network has no place here: the pool and the evaluation use
the run's own, so that methods are compared and not networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.core.images import Images
from ast_ray.core.methods import base
from ast_ray.core.methods.base import IMAGES, TARGETS, Draw, Gradients, OuterOptimizer, Problem, Sources, State
from ast_ray.core.methods.learned_labels import centred, initial_targets, margin
from ast_ray.core.methods.optimizers import Lamb, cosine
from ast_ray.core.methods.pool import AGES, WEIGHTS, Pool
from ast_ray.core.methods.ridge import predictions, regression_loss
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream
from ast_ray.errors import advised


@dataclass(frozen=True)
class LambOfSet:
    """LAMB on images and targets, each a tensor of its own; its moments are ``NAME_mean`` and ``NAME_square``."""

    lr: float
    iterations: int

    def init(self, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `OuterOptimizer.init`."""
        return {
            f"{name}_{moment}": torch.zeros_like(learned[name]) for name in learned for moment in ("mean", "square")
        }

    def is_outlier(self, state: State, gradients: Gradients, units: int) -> bool:
        """See `OuterOptimizer.is_outlier`: never; the length of a step does not depend on the gradient's."""
        return False

    def update(self, state: State, gradients: Sequence[Gradients], mean: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.update`."""
        rule, found = Lamb(cosine(self.lr, state.iteration, self.iterations)), dict[str, Tensor]()
        for name, gradient in mean.learned.items():
            moments = (state.tensors[f"{name}_mean"], state.tensors[f"{name}_square"])
            tensor, (first, second) = rule.update(state.tensors[name], gradient, moments, state.updates + 1)
            if not all(bool(torch.isfinite(one).all()) for one in (tensor, first, second)):
                raise advised(f"{name} or their moments would stop being finite", "lower feature_regression.lr")
            found |= {name: tensor, f"{name}_mean": first, f"{name}_square": second}
        return found

    def absorb(self, state: State, gradients: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.absorb`: there is no scale."""
        return {}


@dataclass(frozen=True)
class MemberDraw(Draw):
    """The member of the pool that an iteration looks through."""

    member: int


@dataclass(frozen=True, kw_only=True)
class Report(base.Report):
    """Loss and its two parts, the accuracy of the predictions, the member and its age."""

    kernel_loss: float
    label_margin: float
    accuracy: float
    member: int
    age: int

    def scalars(self) -> dict[str, float]:
        """See `base.Report.scalars`."""
        return {**super().scalars(), "match/accuracy": self.accuracy, "labels/margin": self.label_margin}


@dataclass(frozen=True)
class FeatureRegression(Problem):
    """The problem of FRePo. The state carries the pool, and LAMB's moments of images and targets.

    ``images`` [n, C, H, W] and ``real_labels`` int64 [n] are the real ones; ``labels`` int64 [S] those of the set.
    """

    sources: Sources
    network: Network
    labels: Tensor
    images: Images
    real_labels: Tensor
    pool: Pool

    skip_advice = "lower feature_regression.lr or raise feature_regression.ridge"

    @property
    def outer(self) -> OuterOptimizer:
        """See `Problem.outer`."""
        config = self.sources.config
        return LambOfSet(config.feature_regression.lr, config.distill.iterations)

    def begin(self, images: Tensor, student_lr: float) -> State:
        """See `Problem.begin`."""
        learned = {IMAGES: images.clone(), TARGETS: initial_targets(self.labels, self.sources.classes).to(images)}
        return State.begin({**learned, **self.outer.init(learned), **self.pool.begin(images)})

    def draw(self, state: State, place: int) -> MemberDraw:
        """See `Problem.draw`: a member of the pool, uniformly."""
        iteration = state.iteration + 1
        generator = stream(self.sources.config.seed, "distill", iteration, "member")
        return MemberDraw(iteration, place, int(torch.randint(self.pool.members, (), generator=generator)))

    def rows(self, iteration: int) -> Tensor:
        """Return the rows of the real images of an iteration, from 1: a slice of its epoch's permutation.

        The epoch and the slice follow from the number, so no counter is carried.
        """
        count = len(self.real_labels)
        batch = min(count, self.sources.config.feature_regression.real_batch)
        epoch, part = divmod(iteration - 1, count // batch)
        order = torch.randperm(count, generator=stream(self.sources.config.seed, "real", epoch))
        return order[part * batch : (part + 1) * batch]

    def gradients(self, state: State, draw: Draw) -> Gradients:
        """Return the loss and its gradients along images and targets; the parts are its two parts, and an accuracy."""
        assert isinstance(draw, MemberDraw)
        settings, classes = self.sources.config.feature_regression, self.sources.classes
        load(self.network, FlatSpec.of(self.network), state.tensors[WEIGHTS][draw.member])
        rows = self.rows(draw.iteration)
        wanted = centred(self.real_labels[rows.to(self.real_labels.device)], classes)
        with torch.no_grad():
            real = self.network.features(self.images[rows.to(self.images.device)])
        images, targets = (state.tensors[name].detach().requires_grad_() for name in (IMAGES, TARGETS))
        joined, answers = images, targets
        if settings.flip:
            joined, answers = torch.cat([images, images.flip(3)]), torch.cat([targets, targets])
        predicted = predictions(self.network.features(joined), answers, real, settings.ridge)
        kernel_loss, held = regression_loss(predicted, wanted), margin(targets)
        loss = kernel_loss - held
        d_images, d_targets = torch.autograd.grad(loss, (images, targets))
        accuracy = (predicted.argmax(1) == wanted.argmax(1)).double().mean()
        parts = tuple(part.detach().to(images) for part in (kernel_loss, held, accuracy))
        return Gradients(loss.detach().to(images), {IMAGES: d_images, TARGETS: d_targets}, parts)

    def report(self, state: State, draws: Sequence[Draw], mean: Gradients) -> Report:
        """See `Problem.report`; predicting 0 costs 1/2 (1 - 1/K), of which the relative loss is a share."""
        first = draws[0]
        assert isinstance(first, MemberDraw)
        kernel_loss, held, accuracy = (float(part) for part in mean.parts)
        return Report(
            iteration=first.iteration,
            loss=float(mean.loss),
            relative_loss=kernel_loss / (0.5 * (1 - 1 / self.sources.classes)),
            image_gradient_norm=float(torch.linalg.vector_norm(mean.learned[IMAGES])),
            kernel_loss=kernel_loss,
            label_margin=held,
            accuracy=accuracy,
            member=first.member,
            age=int(state.tensors[AGES][first.member]),
        )

    def advance(self, state: State, draws: Sequence[Draw]) -> State:
        """See `Problem.advance`: the member is trained on the new set, or replaced."""
        first = draws[0]
        assert isinstance(first, MemberDraw)
        return state.changed(
            self.pool.visit(state.tensors, first.member, state.images, state.tensors[TARGETS], first.iteration)
        )


def open_problem(sources: Sources) -> FeatureRegression:
    """Return FRePo's problem.

    Raises:
        ValueError: no real images given.
    """
    if sources.real_images is None or sources.real_labels is None:
        raise ValueError("feature regression needs real images")
    settings, network = sources.config.feature_regression, sources.network
    network.requires_grad_(requires_grad=False)
    pool = Pool(network, settings.pool, settings.lr_net, settings.max_age, sources.config.seed)
    return FeatureRegression(sources, network, sources.labels, sources.real_images, sources.real_labels, pool)
