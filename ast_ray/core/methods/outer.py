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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.bilevel.matching_loss import matching_points
from ast_ray.core.methods.base import IMAGES, STUDENT_LR, Gradients, OuterOptimizer, State
from ast_ray.errors import advised

DECAY = 0.9
"""Decay per iteration of the running means of a gradient and of its square."""
LR_CLIP = 1.0
"""Bound on one segment's derivative of the relative loss with respect to log(alpha)."""
OUTLIER = 10.0
"""A segment whose gradient is so many times its running root mean square is not used."""
OUTLIER_AFTER = 5
"""Updates before which no gradient counts as an outlier: until then there is no scale to compare with."""


def outer_optimizer(config: DistillConfig, image_std: float) -> OuterOptimizer:
    """Return the optimizer of ``distill.outer``; ``image_std`` is the real images' standard deviation."""
    if config.outer == "sgd":
        return MomentumSGD(config.lr_img, config.lr_lr, config.outer_momentum)
    return Normalized(config.step_img * image_std, config.step_lr, total_weight(config))


def image_optimizer(config: DistillConfig, image_std: float, lr_img: float, setting: str) -> OuterOptimizer:
    """Return the optimizer of a method that learns pixels alone: ``lr_img``, named ``setting``, is its rate for SGD."""
    if config.outer == "sgd":
        return MomentumSGD(lr_img, 0.0, config.outer_momentum, setting)
    return Normalized(config.step_img * image_std, 0.0)


@dataclass(frozen=True)
class LateHalving:
    """A rule whose rate is halved after 60, 80 and 90 % of the iterations (CAFE's schedule, in updates)."""

    rule: Normalized | MomentumSGD
    iterations: int

    def at(self, iteration: int) -> Normalized | MomentumSGD:
        """Return the rule for the update that follows ``iteration`` iterations."""
        factor = 0.5 ** sum(iteration >= share * self.iterations for share in (0.6, 0.8, 0.9))
        if isinstance(self.rule, MomentumSGD):
            return replace(self.rule, lr_img=factor * self.rule.lr_img)
        return replace(self.rule, step_img=factor * self.rule.step_img)

    def init(self, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `OuterOptimizer.init`."""
        return self.rule.init(learned)

    def is_outlier(self, state: State, gradients: Gradients, units: int) -> bool:
        """See `OuterOptimizer.is_outlier`."""
        return self.rule.is_outlier(state, gradients, units)

    def update(self, state: State, gradients: Sequence[Gradients], mean: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.update`."""
        return self.at(state.iteration).update(state, gradients, mean)

    def absorb(self, state: State, gradients: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.absorb`."""
        return self.rule.absorb(state, gradients)


def total_weight(config: DistillConfig) -> float:
    """Return the sum of the weights beta: the loss of a student that covers nothing."""
    return sum(point.beta for point in matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy))


def _running_quantities(learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return zeros: ``image_velocity`` [S, C, H, W] and ``lr_velocity``, the running means of the gradients.

    ``image_scale`` and ``lr_scale`` are the running mean squares (unused by ``sgd``); all but the first are 0-dim.
    """
    images = learned[IMAGES]
    found = {"image_velocity": torch.zeros_like(images), "image_scale": images.new_zeros(())}
    if STUDENT_LR in learned:
        found |= {"lr_velocity": images.new_zeros(()), "lr_scale": images.new_zeros(())}
    return found


@dataclass(frozen=True)
class Normalized:
    """The scale-free update (see the module).

    ``step_img`` is in units of the pixels, ``step_lr`` of log(alpha); ``total_weight`` is sum(beta) of a unit's loss.

    >>> rule, images, alpha = Normalized(step_img=0.1, step_lr=0.05), torch.zeros(1, 1, 1, 2), torch.tensor(0.01)
    >>> learned = {"images": images, "student_lr": alpha}
    >>> state = State.begin({**learned, **rule.init(learned)})
    >>> gradient = torch.tensor([[[[3.0, -4.0]]]])
    >>> slope = Gradients(torch.tensor(1.0), {"images": gradient, "student_lr": torch.tensor(40.0)})
    >>> after = rule.update(state, [slope], slope)
    >>> [round(value, 4) for value in after["images"].flatten().tolist()]  # -0.1 * g / sqrt(mean(g^2)) = g / 12.5 ** .5
    [-0.0849, 0.1131]
    >>> round(float(after["student_lr"]), 6)  # 0.01 * exp(-0.05 * sign(40))
    0.009512
    """

    step_img: float
    step_lr: float
    total_weight: float = 1.0

    def init(self, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `OuterOptimizer.init`."""
        return _running_quantities(learned)

    def is_outlier(self, state: State, gradients: Gradients, units: int) -> bool:
        """See `OuterOptimizer.is_outlier`: beyond ``OUTLIER`` times the running root mean square.

        A mean of W independent gradients is down to 1/sqrt(W) of one of them, which is allowed for.
        """
        if state.updates < OUTLIER_AFTER:
            return False
        return float(gradients.learned[IMAGES].square().mean()) > OUTLIER**2 * units * self._scale(state)

    def update(self, state: State, gradients: Sequence[Gradients], mean: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.update`."""
        corrected = math.sqrt(1 - DECAY ** (state.updates + 1))
        images, gradient = state.images, mean.learned[IMAGES]
        velocity = _running(state.tensors["image_velocity"], gradient)
        scale = _running(state.tensors["image_scale"], gradient.square().mean())
        if float(scale) > 0:  # all gradients zero: nothing to move along
            images = images - (self.step_img / corrected) * velocity / scale.sqrt()
        found = {IMAGES: images, "image_velocity": velocity, "image_scale": scale}
        if STUDENT_LR in state.tensors:
            found |= self._update_lr(state, gradients, corrected)
        _require_usable(found, "lower distill.step_img", "lower distill.step_lr")
        return found

    def _update_lr(self, state: State, gradients: Sequence[Gradients], corrected: float) -> dict[str, Tensor]:
        student_lr = state.student_lr
        slopes = [
            (student_lr * one.learned[STUDENT_LR] / self.total_weight).clamp(-LR_CLIP, LR_CLIP) for one in gradients
        ]
        slope = torch.stack(slopes).mean()
        velocity = _running(state.tensors["lr_velocity"], slope)
        scale = _running(state.tensors["lr_scale"], slope.square())
        if float(scale) > 0:
            student_lr = student_lr * torch.exp(-(self.step_lr / corrected) * velocity / scale.sqrt())
        return {STUDENT_LR: student_lr, "lr_velocity": velocity, "lr_scale": scale}

    def absorb(self, state: State, gradients: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.absorb`: the running mean square takes the outlier as if it were at the limit.

        So the limit grows by a factor of about three with each outlier, and only gradients that keep growing faster
        are refused many times in a row.
        """
        limit = OUTLIER**2 * self._scale(state)
        square = float(gradients.learned[IMAGES].square().mean())
        return {"image_scale": DECAY * state.tensors["image_scale"] + (1 - DECAY) * min(square, limit)}

    def _scale(self, state: State) -> float:
        """The bias-corrected running mean square; not corrected exactly once outliers were absorbed, and bounded."""
        return float(state.tensors["image_scale"]) / (1 - DECAY**state.updates)


@dataclass(frozen=True)
class MomentumSGD:
    """SGD with momentum on pixels and alpha: the published update (Sec. IV-D; MTT)."""

    lr_img: float
    lr_lr: float
    momentum: float
    setting: str = "distill.lr_img"

    def init(self, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `OuterOptimizer.init`."""
        return _running_quantities(learned)

    def is_outlier(self, state: State, gradients: Gradients, units: int) -> bool:
        """See `OuterOptimizer.is_outlier`: never; the published update has no scale to compare with."""
        return False

    def update(self, state: State, gradients: Sequence[Gradients], mean: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.update`."""
        found = dict[str, Tensor]()
        for name, carried, rate in ((IMAGES, "image_velocity", self.lr_img), (STUDENT_LR, "lr_velocity", self.lr_lr)):
            if name in mean.learned:
                velocity = self.momentum * state.tensors[carried] + mean.learned[name]
                found |= {name: state.tensors[name] - rate * velocity, carried: velocity}
        remedy = "or use distill.outer = normalized, which needs no such rate"
        _require_usable(found, f"lower {self.setting}, {remedy}", f"lower distill.lr_lr, {remedy}")
        return found

    def absorb(self, state: State, gradients: Gradients) -> dict[str, Tensor]:
        """See `OuterOptimizer.absorb`: there is no scale."""
        return {}


def _running(mean: Tensor, value: Tensor) -> Tensor:
    return DECAY * mean + (1 - DECAY) * value


def _require_usable(learned: Mapping[str, Tensor], images_advice: str, lr_advice: str) -> None:
    student_lr = float(learned.get(STUDENT_LR, 1.0))
    if not 0 < student_lr < float("inf"):
        raise advised(f"alpha would become {student_lr:.3g}", lr_advice)
    if not torch.isfinite(learned[IMAGES]).all():
        raise advised("pixels would stop being finite", images_advice)
