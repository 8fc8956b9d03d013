"""AST's additions to matching: the balance of the inner loss (Eq. 20) and the perturbed start (Eq. 23)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ast_ray.core.parameters import FlatSpec


def balance(start_epoch: int, max_start_epoch: int, *, vartheta: float = 8.0, log_base: float = 0.0) -> float:
    """Return nu for a start epoch t, with middle = T+/2.

    nu = log(|t - middle| + vartheta) for t >= middle, and 1/log(|middle - t| + vartheta) below it: late starts, where
    the expert moves little and gradients are small, get a larger inner loss. ``log_base`` 0 is e.

    >>> round(balance(10, 20), 4) == round(math.log(8), 4)
    True
    """
    middle = max_start_epoch / 2
    value = math.log(abs(start_epoch - middle) + vartheta)
    if log_base:
        value /= math.log(log_base)
    return value if start_epoch >= middle else 1 / value


def perturb(
    theta: Tensor,
    spec: FlatSpec,
    rho: float,
    generator: torch.Generator,
    *,
    scope: Literal["all", "conv"] = "all",
    vectors: bool = False,
) -> Tensor:
    """Return theta* = theta + rho*d, d of random direction and of each filter's own norm; theta [P].

    A filter is one output row of a convolution or linear weight: ||d_j|| = ||theta_j||, so ||theta*_j - theta_j|| =
    rho*||theta_j|| exactly. One-dimensional parameters are left alone unless ``vectors``; scope ``conv`` perturbs
    four-dimensional weights only. Draws in float32 on the CPU, so that they are equal on every device.
    """
    if rho == 0:
        return theta
    pieces = []
    for part, shape in zip(theta.split(spec.sizes), spec.shapes, strict=True):
        wanted = len(shape) == 4 or (len(shape) == 1 and vectors) or (len(shape) > 1 and scope == "all")
        if not wanted:
            pieces.append(part)
            continue
        filters = part.view(1 if len(shape) == 1 else shape[0], -1)
        noise = torch.randn(filters.shape, generator=generator).to(filters)
        scale = filters.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
        pieces.append((filters + rho * scale * noise).view(-1))
    return torch.cat(pieces)
