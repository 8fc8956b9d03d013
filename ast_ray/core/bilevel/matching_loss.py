"""The matching loss: points xi_i at which student and expert are compared, their weights beta_i, and Eq. 22."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ast_ray.errors import StoreError


@dataclass(frozen=True)
class MatchingPoint:
    """After ``step`` student steps the target is the expert ``epochs_ahead`` epochs on, with weight ``beta``."""

    step: int
    epochs_ahead: int
    beta: float


def matching_points(
    syn_steps: int, expert_epochs: int, strategy: Literal["equal", "scaled", "final"]
) -> tuple[MatchingPoint, ...]:
    """Return xi_i = floor(i*N/M) for i = 1..M with their weights.

    equal: beta_i = 1; scaled: beta_i = xi_i/N; final: only i = M (MTT).

    >>> [point.step for point in matching_points(30, 4, "equal")]
    [7, 15, 22, 30]
    """
    ahead = range(1, expert_epochs + 1) if strategy != "final" else (expert_epochs,)
    points = []
    for i in ahead:
        step = i * syn_steps // expert_epochs
        points.append(MatchingPoint(step, i, step / syn_steps if strategy == "scaled" else 1.0))
    return tuple(points)


@dataclass(frozen=True)
class Target:
    """The target of one matching point: theta [P], its weight, and 1/denominator."""

    theta: Tensor
    beta: float
    inverse_distance: float

    def loss(self, student: Tensor) -> Tensor:
        """Beta * ||student - theta||^2 / ||theta*_t - theta||^2, a scalar."""
        return self.beta * self.inverse_distance * (student - self.theta).square().sum()

    def gradient(self, student: Tensor) -> Tensor:
        """The derivative of `loss` with respect to the student's weights [P]."""
        return (2 * self.beta * self.inverse_distance) * (student - self.theta)


def targets_of(
    start: Tensor, segment: Sequence[Tensor], points: Sequence[MatchingPoint], *, expert_id: int, start_epoch: int
) -> dict[int, Target]:
    """Attach the expert's recorded points to student steps.

    Args:
        start: the (perturbed) start theta*_t [P], which the denominator uses.
        segment: theta_t, theta_{t+1}, ..., theta_{t+M}, clean.

    Raises:
        StoreError: the expert did not move from the start, so the loss has no scale.
    """
    targets = {}
    for point in points:
        theta = segment[point.epochs_ahead]
        distance = float(torch.linalg.vector_norm(start - theta)) ** 2
        if distance == 0:
            raise StoreError(
                f"expert {expert_id} does not move between epochs {start_epoch} and "
                f"{start_epoch + point.epochs_ahead}: the matching loss has a zero denominator; "
                "train the expert with a larger learning rate"
            )
        targets[point.step] = Target(theta, point.beta, 1 / distance)
    return targets
