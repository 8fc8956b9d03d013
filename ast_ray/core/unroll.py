"""The student: N steps on the synthetic set from a given start (Eq. 20-21), planned before they are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.augmentation import Draw, apply, draw, operations
from ast_ray.core.flat_params import FlatSpec, call
from ast_ray.core.networks import Network


@dataclass(frozen=True)
class StudentStep:
    """Everything random about one student step: rows of D_syn [B] (None = all), augmentation, feature mask [B, F]."""

    rows: Tensor | None
    augmentation: Draw
    feature_mask: Tensor | None = None


@dataclass(frozen=True)
class Student:
    """A network's layout with the labels of D_syn: turns (theta, images) into the scaled inner loss."""

    network: Network
    spec: FlatSpec
    labels: Tensor
    nu: float = 1.0
    momentum: float = 0.0

    def batch(self, images: Tensor, step: StudentStep) -> Tensor:
        """The step's synthetic images [B, C, H, W] out of D_syn [S, C, H, W]."""
        return images if step.rows is None else images.index_select(0, step.rows)

    def loss(self, theta: Tensor, batch: Tensor, step: StudentStep) -> Tensor:
        """Nu * CE(net(theta, A(s_b)), y_b), a scalar."""
        labels = self.labels if step.rows is None else self.labels.index_select(0, step.rows)
        logits = call(self.network, self.spec, theta, apply(batch, step.augmentation), step.feature_mask)
        return self.nu * F.cross_entropy(logits, labels)


def plan_steps(
    config: DistillConfig, labels: Tensor, image_size: tuple[int, int], features: int, generator: torch.Generator
) -> list[StudentStep]:
    """Draw the N steps of one iteration: mini-batches without replacement through permutations, DSA, dropout masks."""
    total, device = len(labels), labels.device
    names = operations(config.augmentation)
    whole = config.batch_size == 0 or config.batch_size >= total
    waiting: list[Tensor] = []
    steps = []
    for _ in range(config.syn_steps):
        if whole:
            rows = None
        else:
            if not waiting:
                waiting = list(torch.randperm(total, generator=generator).split(config.batch_size))
            rows = waiting.pop(0)
        size = total if rows is None else len(rows)
        chosen = draw(names, size, image_size, generator, siamese=config.siamese)
        mask = _dropout_mask(config.dropout, size, features, generator)
        steps.append(
            StudentStep(
                None if rows is None else rows.to(device), chosen, None if mask is None else mask.to(device=device)
            )
        )
    return steps


def _dropout_mask(rate: float, size: int, features: int, generator: torch.Generator) -> Tensor | None:
    if rate == 0:
        return None
    return (torch.rand(size, features, generator=generator) >= rate).float() / (1 - rate)


def run_student(
    student: Student, start: Tensor, images: Tensor, alpha: Tensor, steps: Sequence[StudentStep]
) -> tuple[list[Tensor], list[Tensor]]:
    """Take the steps without keeping any graph.

    Returns:
        theta_0..theta_N, each [P], and the velocities v_1..v_N (empty without student momentum, where v = g).
    """
    theta, velocity = start.detach(), torch.zeros_like(start)
    weights, velocities = [theta], []
    rate = alpha.detach()
    for step in steps:
        leaf = theta.requires_grad_()
        (gradient,) = torch.autograd.grad(student.loss(leaf, student.batch(images.detach(), step), step), leaf)
        velocity = student.momentum * velocity + gradient if student.momentum else gradient
        theta = leaf.detach() - rate * velocity
        weights.append(theta)
        if student.momentum:
            velocities.append(velocity)
    return [weight.detach() for weight in weights], velocities
