"""Outer optimizers: the updates of the synthetic pixels and of the student's learning rate alpha, as init/update pairs.

``normalized`` is scale-free and our default. Both move along a running mean of their gradient, divided by its running
root mean square, with the same decay, so a step never exceeds its bound, whatever the data, the image size and ipc:

    m <- 0.9*m + 0.1*g     s <- 0.9*s + 0.1*mean(g^2)               x <- x - step_img * sigma * m' / sqrt(s')
    v <- 0.9*v + 0.1*u     r <- 0.9*r + 0.1*u^2                     alpha <- alpha * exp(-step_lr * v' / sqrt(r'))

with bias-corrected m', s', v' and r'. The mean over all pixels makes s one number, and sigma is the standard deviation
of the real images. Alpha moves in log space, where it cannot turn negative, along
u = clip(alpha * dL/dalpha / sum(beta), -1, 1): the matching loss is relative (1 = nothing covered), so u is a pure
number, of order 1 where alpha matters.

``sgd`` is the published update: SGD with momentum on pixels and alpha, at rates that fit one cell of the tables only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.errors import DivergenceError

DECAY = 0.9
"""Decay per iteration of the running means of a gradient and of its square."""
LR_CLIP = 1.0
"""Bound on one segment's derivative of the relative loss with respect to log(alpha)."""
OUTLIER = 10.0
"""A segment whose gradient is so many times its running root mean square is not used."""
OUTLIER_AFTER = 5
"""Updates before which no gradient counts as an outlier: until then there is no scale to compare with."""


@dataclass(frozen=True)
class OuterState:
    """The running quantities of an outer optimizer.

    image_velocity [S, C, H, W] and lr_velocity are the running means of the gradients, image_scale and lr_scale the
    running mean squares (0 for ``sgd``); all but the first are 0-dim tensors. ``updates`` counts the updates made.
    """

    image_velocity: Tensor
    lr_velocity: Tensor
    image_scale: Tensor
    lr_scale: Tensor
    updates: int = 0


@dataclass(frozen=True)
class SegmentGradient:
    """One segment's gradient: images [S, C, H, W], alpha (dL/dalpha, a 0-dim tensor), and sum(beta) of its loss."""

    images: Tensor
    alpha: Tensor
    total_weight: float


class OuterOptimizer(Protocol):
    """An update rule of images and alpha."""

    def init(self, images: Tensor, student_lr: Tensor) -> OuterState:
        """Return the state before the first update."""

    def is_outlier(self, state: OuterState, images: Tensor, segments: int) -> bool:
        """Tell whether one of ``segments`` finite image gradients is too far beyond the running scale to be used."""

    def update(
        self, state: OuterState, images: Tensor, student_lr: Tensor, gradients: list[SegmentGradient], mean: Tensor
    ) -> tuple[OuterState, Tensor, Tensor]:
        """Return the new state, images and alpha.

        Args:
            gradients: the segments' gradients, at least one; mean: the mean of their image gradients [S, C, H, W].

        Raises:
            DivergenceError: images or alpha would not be finite, or alpha not positive; the message is the cause, its
            note the advice.
        """

    def absorb(self, state: OuterState, images: Tensor) -> OuterState:
        """Take note of an outlier [S, C, H, W] that is not used, so that a lasting change of scale is followed."""


def outer_optimizer(config: DistillConfig, image_std: float) -> OuterOptimizer:
    """Return the optimizer of ``distill.outer``; ``image_std`` is the real images' standard deviation."""
    if config.outer == "sgd":
        return MomentumSGD(config.lr_img, config.lr_lr, config.outer_momentum)
    return Normalized(config.step_img * image_std, config.step_lr)


def initial_state(images: Tensor, student_lr: Tensor) -> OuterState:
    """Return zeros of the right shapes."""
    zero = torch.zeros_like(student_lr)
    return OuterState(torch.zeros_like(images), zero, zero.clone(), zero.clone())


@dataclass(frozen=True)
class Normalized:
    """The scale-free update (see the module). ``step_img`` in units of the pixels, ``step_lr`` of log(alpha).

    >>> rule, images, alpha = Normalized(step_img=0.1, step_lr=0.05), torch.zeros(1, 1, 1, 2), torch.tensor(0.01)
    >>> gradient = torch.tensor([[[[3.0, -4.0]]]])
    >>> state = rule.init(images, alpha)
    >>> state, images, alpha = rule.update(
    ...     state, images, alpha, [SegmentGradient(gradient, torch.tensor(40.0), 1.0)], gradient
    ... )
    >>> [round(value, 4) for value in images.flatten().tolist()]  # -0.1 * g / sqrt(mean(g^2)), mean(g^2) = 12.5
    [-0.0849, 0.1131]
    >>> round(float(alpha), 6)  # 0.01 * exp(-0.05 * sign(40))
    0.009512
    """

    step_img: float
    step_lr: float

    def init(self, images: Tensor, student_lr: Tensor) -> OuterState:
        """See `OuterOptimizer.init`."""
        return initial_state(images, student_lr)

    def is_outlier(self, state: OuterState, images: Tensor, segments: int) -> bool:
        """See `OuterOptimizer.is_outlier`: beyond ``OUTLIER`` times the running root mean square.

        A mean of W independent gradients is down to 1/sqrt(W) of one of them, which is allowed for.
        """
        if state.updates < OUTLIER_AFTER:
            return False
        return float(images.square().mean()) > OUTLIER**2 * segments * self._scale(state)

    def update(
        self, state: OuterState, images: Tensor, student_lr: Tensor, gradients: list[SegmentGradient], mean: Tensor
    ) -> tuple[OuterState, Tensor, Tensor]:
        """See `OuterOptimizer.update`."""
        corrected = math.sqrt(1 - DECAY ** (state.updates + 1))
        velocity = _running(state.image_velocity, mean)
        scale = _running(state.image_scale, mean.square().mean())
        if float(scale) > 0:  # all gradients zero: nothing to move along
            images = images - (self.step_img / corrected) * velocity / scale.sqrt()
        slopes = [(student_lr * one.alpha / one.total_weight).clamp(-LR_CLIP, LR_CLIP) for one in gradients]
        slope = torch.stack(slopes).mean()
        lr_velocity, lr_scale = _running(state.lr_velocity, slope), _running(state.lr_scale, slope.square())
        if float(lr_scale) > 0:
            student_lr = student_lr * torch.exp(-(self.step_lr / corrected) * lr_velocity / lr_scale.sqrt())
        _require_usable(images, student_lr, "lower distill.step_img", "lower distill.step_lr")
        return OuterState(velocity, lr_velocity, scale, lr_scale, state.updates + 1), images, student_lr

    def absorb(self, state: OuterState, images: Tensor) -> OuterState:
        """See `OuterOptimizer.absorb`: the running mean square takes the outlier as if it were at the limit.

        So the limit grows by a factor of about three with each outlier, and only gradients that keep growing faster
        are refused many times in a row.
        """
        limit = OUTLIER**2 * self._scale(state)
        taken = DECAY * state.image_scale + (1 - DECAY) * min(float(images.square().mean()), limit)
        return replace(state, image_scale=taken)

    def _scale(self, state: OuterState) -> float:
        """The bias-corrected running mean square; not corrected exactly once outliers were absorbed, and bounded."""
        return float(state.image_scale) / (1 - DECAY**state.updates)


@dataclass(frozen=True)
class MomentumSGD:
    """SGD with momentum on pixels and alpha: the published update (Sec. IV-D; MTT)."""

    lr_img: float
    lr_lr: float
    momentum: float

    def init(self, images: Tensor, student_lr: Tensor) -> OuterState:
        """See `OuterOptimizer.init`."""
        return initial_state(images, student_lr)

    def is_outlier(self, state: OuterState, images: Tensor, segments: int) -> bool:
        """See `OuterOptimizer.is_outlier`: never; the published update has no scale to compare with."""
        return False

    def update(
        self, state: OuterState, images: Tensor, student_lr: Tensor, gradients: list[SegmentGradient], mean: Tensor
    ) -> tuple[OuterState, Tensor, Tensor]:
        """See `OuterOptimizer.update`."""
        alpha = gradients[0].alpha
        for gradient in gradients[1:]:
            alpha = alpha + gradient.alpha
        velocity = self.momentum * state.image_velocity + mean
        lr_velocity = self.momentum * state.lr_velocity + alpha / len(gradients)
        student_lr = student_lr - self.lr_lr * lr_velocity
        images = images - self.lr_img * velocity
        remedy = "or use distill.outer = normalized, which needs no such rate"
        _require_usable(images, student_lr, f"lower distill.lr_img, {remedy}", f"lower distill.lr_lr, {remedy}")
        return (
            replace(state, image_velocity=velocity, lr_velocity=lr_velocity, updates=state.updates + 1),
            images,
            student_lr,
        )

    def absorb(self, state: OuterState, images: Tensor) -> OuterState:
        """See `OuterOptimizer.absorb`: there is no scale."""
        return state


def _running(mean: Tensor, value: Tensor) -> Tensor:
    return DECAY * mean + (1 - DECAY) * value


def _require_usable(images: Tensor, student_lr: Tensor, images_advice: str, lr_advice: str) -> None:
    if not 0 < float(student_lr) < float("inf"):
        raise _divergence(f"alpha would become {float(student_lr):.3g}", lr_advice)
    if not torch.isfinite(images).all():
        raise _divergence("pixels would stop being finite", images_advice)


def _divergence(cause: str, advice: str) -> DivergenceError:
    error = DivergenceError(cause)
    error.add_note(advice)
    return error
