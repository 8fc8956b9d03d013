"""Kernel ridge regression on features, as FRePo solves it (arXiv 2206.00719), in float64 whatever the features are in.

    K_ss = phi(s) phi(s)^T,   K_ts = phi(x_t) phi(s)^T,   K_reg = K_ss + lambda * tr(K_ss)/S * I
    pred = K_ts K_reg^{-1} Y,   L = mean_t 1/2 || pred_t - y_t ||^2

K_reg is nearly singular where features of s are collinear, which float32 does not survive.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ast_ray.errors import advised


def predictions(synthetic: Tensor, targets: Tensor, real: Tensor, ridge: float) -> Tensor:
    """Predict real images from synthetic ones: pred [B, K] in float64, differentiable in ``synthetic`` and ``targets``.

    Args:
        synthetic: phi(s) [S, F]; targets: Y [S, K]; real: phi(x_t) [B, F]; ridge: lambda, relative to the mean of the
            diagonal of K_ss, through which the gradient flows as well.

    Raises:
        DivergenceError: features of the synthetic images are not finite, or K_reg is not positive definite; the note is
            the advice.
    """
    ours, theirs = synthetic.double(), real.double()
    kernel = ours @ ours.T
    regular = kernel + ridge * torch.trace(kernel) / len(kernel) * torch.eye(len(kernel), device=kernel.device).double()
    factor, failed = torch.linalg.cholesky_ex(regular)
    if not bool(torch.isfinite(kernel).all()):
        raise advised("features of the synthetic images are not finite", "lower feature_regression.lr")
    if int(failed):
        cause = "the kernel of the synthetic images is not positive definite"
        raise advised(cause, "raise feature_regression.ridge")
    return theirs @ ours.T @ torch.cholesky_solve(targets.double(), factor)


def regression_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return mean_t 1/2 || pred_t - y_t ||^2 of predictions and targets [B, K]; a 0-dim tensor."""
    return 0.5 * (predicted - targets).square().sum(1).mean()
