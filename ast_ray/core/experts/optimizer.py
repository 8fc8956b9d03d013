"""One update of an expert's weights (Algorithm 1, line v <- gamma*v + eta*g), and Adam for comparison (Table I).

The optimiser's state is one tensor: the velocity [..., P] of SGD, or Adam's two moments
[..., 2, P]; leading dimensions are experts trained at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ast_ray.config.settings import ExpertConfig

_BETA_2, _EPS = 0.999, 1e-8  # Adam's usual ones; beta_1 is expert.momentum


def init(theta: Tensor, config: ExpertConfig) -> Tensor:
    """Return the optimiser's state before the first step of weights theta [..., P]."""
    if config.optimizer == "sgd":
        return torch.zeros_like(theta)
    return torch.zeros_like(theta).unsqueeze(-2).repeat_interleave(2, -2)


def update(theta: Tensor, gradient: Tensor, state: Tensor, config: ExpertConfig, *, lr: float, step: int) -> Tensor:
    """Return the weights [..., P] after a step; ``state`` is updated in place, ``gradient`` is used up.

    SGD: g <- g + w*theta, v <- gamma*v + eta*g, theta <- theta - v. Adam (Kingma and Ba 2015) sees the same g.

    Args:
        step: 1 for the first of the whole training; Adam's bias correction depends on it.
    """
    gradient.add_(theta, alpha=config.weight_decay)
    if config.optimizer == "sgd":
        return theta - state.mul_(config.momentum).add_(gradient, alpha=lr)
    first, second = state.unbind(-2)
    first.lerp_(gradient, 1 - config.momentum)
    second.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
    scale = (second / (1 - _BETA_2**step)).sqrt_().add_(_EPS)
    return theta - lr / (1 - config.momentum**step) * first / scale
