"""Optimizers of one tensor as init/update pairs: Adam, LAMB, and a cosine decay of the rate.

State is data: ``init`` returns the running quantities, ``update`` the new tensor and the new quantities. SGD with
momentum and the scale-free rule are in `outer`, which knows the synthetic set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Moments = tuple[Tensor, Tensor]
"""Running means of the gradient and of its square, both like the tensor."""


def init(tensor: Tensor) -> Moments:
    """Return moments of zero."""
    return torch.zeros_like(tensor), torch.zeros_like(tensor)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015): p <- p - lr * m' / (sqrt(v') + eps) with bias-corrected moments.

    >>> (p, _) = Adam(0.1).update(torch.tensor(1.0), torch.tensor(2.0), init(torch.tensor(1.0)), 1)
    >>> round(float(p), 6)
    0.9
    """

    lr: float
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8

    def update(self, tensor: Tensor, gradient: Tensor, moments: Moments, step: int) -> tuple[Tensor, Moments]:
        """Return the tensor and its moments after update number ``step``, from 1."""
        direction, moments = self.direction(gradient, moments, step)
        return tensor - self.lr * direction, moments

    def direction(self, gradient: Tensor, moments: Moments, step: int) -> tuple[Tensor, Moments]:
        """Return m' / (sqrt(v') + eps) and the new moments."""
        first = self.beta_1 * moments[0] + (1 - self.beta_1) * gradient
        second = self.beta_2 * moments[1] + (1 - self.beta_2) * gradient.square()
        below = (second / (1 - self.beta_2**step)).sqrt() + self.eps
        return first / (1 - self.beta_1**step) / below, (first, second)


@dataclass(frozen=True)
class Lamb:
    """LAMB without decay (You et al. 2020): Adam's direction u, scaled to a share ``lr`` of the tensor's norm.

    p <- p - lr * (||p|| / ||u||) * u; the ratio is 1 where either norm is 0.
    """

    lr: float
    eps: float = 1e-6

    def update(self, tensor: Tensor, gradient: Tensor, moments: Moments, step: int) -> tuple[Tensor, Moments]:
        """Return the tensor and its moments after update number ``step``, from 1."""
        direction, moments = Adam(self.lr, eps=self.eps).direction(gradient, moments, step)
        size, length = (torch.linalg.vector_norm(one) for one in (tensor, direction))
        usable = (size > 0) & (length > 0)
        ratio = torch.where(usable, size / torch.where(usable, length, torch.ones_like(length)), torch.ones_like(size))
        return tensor - self.lr * ratio * direction, moments


def cosine(rate: float, iteration: int, iterations: int, last: float = 0.1) -> float:
    """Return the rate of an iteration, from 0: it falls by a cosine from ``rate`` to ``last * rate``.

    >>> cosine(1.0, 0, 100), round(cosine(1.0, 50, 100), 3), round(cosine(1.0, 100, 100), 3)
    (1.0, 0.55, 0.1)
    """
    share = min(1.0, iteration / max(1, iterations))
    return rate * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * share)))
