"""Smoothness of experts: clipped loss, gradient penalty (Eq. 19), and the measure Avg_Var (Sec. V-F1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ast_ray.config.settings import ExpertConfig


def clipped_loss_coefficient(epoch: int, config: ExpertConfig) -> float:
    """Return lambda_e, rising from ``clip_start`` to 1 over ``clip_epochs`` epochs, then 1 (Sec. IV-B).

    Linear: 0.5, 0.6, 0.7, 0.8, 0.9, 1, ...; cosine: the same ends along half a cosine; step: ``clip_start`` until
    the end, then 1; constant: always 1.
    """
    if config.clip_schedule == "constant" or epoch >= config.clip_epochs:
        return 1.0
    share = {
        "linear": epoch / config.clip_epochs,
        "cosine": (1 - math.cos(math.pi * epoch / config.clip_epochs)) / 2,
        "step": 0.0,
    }[config.clip_schedule]
    return config.clip_start + (1 - config.clip_start) * share


def gradient_penalty(
    model: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, config: ExpertConfig, *, create_graph: bool = True
) -> Tensor:
    """Return mean_i (||grad_x W(x_i)||_2 - K)^2 on real images x [B, C, H, W] (Eq. 19), without its weight mu."""
    return gradient_penalties(model, x, labels, config, create_graph=create_graph).mean()


def gradient_penalties(
    model: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, config: ExpertConfig, *, create_graph: bool = True
) -> Tensor:
    """Return (||grad_x W(x_i)||_2 - K)^2 of each image of x [B, C, H, W]: [B], or [B, H, W] for ``pixel``.

    W(x) is the sum of the logits or the true class's logit (``penalty_scalar``); the norm runs over the whole image
    or over the channels of each pixel (``penalty_norm``).
    """
    x = x.detach().requires_grad_()
    logits = model(x)
    if config.penalty_scalar == "true_class":
        logits = logits.gather(1, labels[:, None])
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=create_graph)
    over = slope.flatten(1) if config.penalty_norm == "sample" else slope
    norm: Tensor = torch.linalg.vector_norm(over, dim=1)
    return (norm - config.penalty_target).square()


def avg_var(trajectory: Sequence[Tensor]) -> float:
    """Return mean_t ||theta_t - theta_{t+1}||_2^2 over recorded epochs (Sec. V-F1).

    >>> avg_var([torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]), torch.tensor([3.0, 5.0])])
    13.0
    """
    moves = [float((after - before).square().sum()) for before, after in pairwise(trajectory)]
    return sum(moves) / len(moves)
