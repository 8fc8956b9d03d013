"""Flat experts: adaptive sharpness-aware steps with a surrogate gap (GSAM) as FTD trains them (arXiv 2211.11004).

An expert minimises L(theta) + alpha * (max_{||e|| <= rho} L(theta+e) - L(theta)) (Eq. 12-13), both terms on one batch:

    g      = grad L(theta)
    e      = rho * theta^2 * g / (|| |theta| * g || + 1e-12)        elementwise; the norm over all parameters
    g'     = grad L(theta+e)
    g_perp = g - <g, g'>/||g'||^2 * g'
    the step goes along g' - alpha * g_perp

``alpha`` of the step is the coefficient of the orthogonal part, as in the authors' code and tables; in the paper's text
alpha weighs the sharpness. Weights at 0 are not moved by e; they are trained all the same. With rho = 0 the direction
is g but for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.core.engines.expert_step import ExpertBatch, ExpertStep

_EPS = 1e-12


def ascent(theta: Tensor, gradient: Tensor, rho: float) -> Tensor:
    """Return e [..., P] for weights and gradient [..., P]; leading dimensions are experts, each with its own norm.

    >>> ascent(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 6.0]), 0.1)
    tensor([0.0083, 0.1993])
    """
    norm: Tensor = torch.linalg.vector_norm(theta.abs() * gradient, dim=-1, keepdim=True)
    return rho * theta.square() * gradient / (norm + _EPS)


def direction(gradient: Tensor, perturbed: Tensor, alpha: float) -> Tensor:
    """Return g' - alpha * g_perp [..., P] for g and g' [..., P]; leading dimensions are experts.

    Where g' is 0 there is nothing to project on: g_perp is g.
    """
    square = perturbed.square().sum(-1, keepdim=True)
    along = torch.where(square > 0, (gradient * perturbed).sum(-1, keepdim=True) / square, 0.0)
    return perturbed - alpha * (gradient - along * perturbed)


@dataclass(frozen=True)
class SharpnessAware:
    """A step (`ExpertStep`) that takes two gradients of ``step`` on one batch and returns the sharpness-aware one.

    Args:
        step: of any engine; rho: ``expert.sharpness_rho``; alpha: ``expert.sharpness_alpha``.
    """

    step: ExpertStep
    rho: float
    alpha: float

    def __call__(self, theta: Tensor, batch: ExpertBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the direction [P] at theta [P], with the loss and the penalty (scalars) at theta itself."""
        theta = theta.detach()
        gradient, loss, penalty = self.step(theta, batch)
        perturbed, _, _ = self.step(theta + ascent(theta, gradient, self.rho), batch)
        return direction(gradient, perturbed, self.alpha), loss, penalty
