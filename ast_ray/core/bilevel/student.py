"""The student: N steps on the synthetic set from a given start (Eq. 20-21), planned before they are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.augmentation import Draw, apply, draw, operations
from ast_ray.core.engines.autograd import AutogradEngine, Engine, StepData
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.precision import Precision


@dataclass(frozen=True)
class StudentStep:
    """Everything random about one student step: rows of D_syn [B] (None = all), augmentation, feature mask [B, F]."""

    rows: Tensor | None
    augmentation: Draw
    feature_mask: Tensor | None = None


@dataclass(frozen=True)
class Student:
    """A network's layout with the labels of D_syn: turns (theta, images) into the scaled inner loss.

    ``labels`` are classes, int64 [S]. ``targets`` [S, K], where given, are the probabilities that the cross-entropy
    takes in their place (TESLA's assigned labels); rows add up to 1.
    """

    network: Network
    spec: FlatSpec
    labels: Tensor
    nu: float = 1.0
    momentum: float = 0.0
    precision: Precision = "float32"
    targets: Tensor | None = None

    def batch(self, images: Tensor, step: StudentStep) -> Tensor:
        """The step's synthetic images [B, C, H, W] out of D_syn [S, C, H, W]."""
        return images if step.rows is None else images.index_select(0, step.rows)

    def data(self, batch: Tensor, step: StudentStep) -> StepData:
        """Return the network's input: A(s_b), y_b, the dropout mask and nu; differentiable in the batch."""
        labels = self.labels if self.targets is None else self.targets
        labels = labels if step.rows is None else labels.index_select(0, step.rows)
        return StepData(apply(batch, step.augmentation), labels, step.feature_mask, self.nu)

    def loss(self, theta: Tensor, batch: Tensor, step: StudentStep) -> Tensor:
        """Nu * CE(net(theta, A(s_b)), y_b), a scalar."""
        return self.reference.loss(theta, self.data(batch, step))

    @property
    def reference(self) -> AutogradEngine:
        """The engine that takes any network."""
        return AutogradEngine(self.network, self.spec, self.precision)


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


@dataclass(frozen=True)
class Run:
    """The course of the student's training.

    theta_0..theta_N, each [P]; the velocities v_1..v_N (none without student momentum, where v = g); and per step
    g_n with what its engine kept (none unless asked for).
    """

    weights: list[Tensor]
    velocities: list[Tensor]
    kept: list[tuple[Tensor, Any]]


def run_student(
    student: Student,
    start: Tensor,
    images: Tensor,
    alpha: Tensor,
    steps: Sequence[StudentStep],
    *,
    engine: Engine | None = None,
    keep: bool = False,
) -> Run:
    """Take the steps, by default with autograd and without keeping more than the weights."""
    engine = engine or student.reference
    theta, velocity = start.detach(), torch.zeros_like(start)
    run = Run([theta], [], [])
    rate = alpha.detach()
    for number, step in enumerate(steps):
        data = student.data(student.batch(images.detach(), step), step)
        gradient, kept = engine.gradient(theta, data, keep=keep, slot=number)
        velocity = student.momentum * velocity + gradient if student.momentum else gradient
        theta = theta - rate * velocity
        run.weights.append(theta)
        if student.momentum:
            run.velocities.append(velocity)
        if keep:
            run.kept.append((gradient, kept))
    return run
