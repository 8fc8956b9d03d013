"""Distillation phase: one outer iteration of Algorithm 2, as a function from state to state.

Nothing here loops over iterations, writes files or logs: that is `stages.distill`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.engine.step import Engine
from ast_ray.core.flat_params import FlatSpec
from ast_ray.core.hypergradient import Hypergradient, hypergradient
from ast_ray.core.inner_loss import balance
from ast_ray.core.matching import matching_points, targets_of
from ast_ray.core.networks import Network
from ast_ray.core.perturbation import perturb
from ast_ray.core.rng import stream
from ast_ray.core.unroll import Student, plan_steps
from ast_ray.errors import DivergenceError


class Experts(Protocol):
    """Where recorded trajectories come from."""

    def __len__(self) -> int:
        """Number of experts."""

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        """theta_t, ..., theta_{t+length}: ``length + 1`` vectors [P], and nothing else of the trajectory."""


@dataclass(frozen=True)
class DistillState:
    """Everything that changes between iterations; a checkpoint is this and nothing more."""

    images: Tensor
    student_lr: Tensor
    image_velocity: Tensor
    lr_velocity: Tensor
    iteration: int = 0
    last_start_epoch: int = -1

    @classmethod
    def begin(cls, images: Tensor, student_lr: float) -> DistillState:
        """The state before the first iteration, from initial images [S, C, H, W]."""
        alpha = torch.tensor(student_lr, dtype=images.dtype, device=images.device)
        return cls(images.clone(), alpha, torch.zeros_like(images), torch.zeros_like(alpha))


@dataclass(frozen=True)
class IterationReport:
    """What one iteration saw: losses relative to the expert's distance, draws and gradient norms."""

    iteration: int
    expert_id: int
    start_epoch: int
    nu: float
    loss: float
    relative_loss: float
    parts: tuple[float, ...]
    student_lr: float
    image_gradient_norm: float
    lr_gradient: float


@dataclass(frozen=True)
class Problem:
    """What stays the same through all iterations: the network's layout, labels [S], experts, settings, seed, engine.

    Without an engine the student's steps are autograd's.
    """

    network: Network
    labels: Tensor
    experts: Experts
    config: DistillConfig
    seed: int
    engine: Engine | None = None


def draw_start_epoch(config: DistillConfig, last: int, generator: torch.Generator) -> int:
    """Uniform on 0..T+ - 1, or within +-window of the last one (the alternative rejected in Sec. IV-C2)."""
    low, high = 0, config.max_start_epoch - 1
    if config.start_epoch_window and last >= 0:
        low, high = max(low, last - config.start_epoch_window), min(high, last + config.start_epoch_window)
    return low + int(torch.randint(high - low + 1, (), generator=generator))


def iterate(problem: Problem, state: DistillState) -> tuple[DistillState, IterationReport]:
    """Run one iteration of Algorithm 2.

    Raises:
        DivergenceError: loss or gradient not finite, or alpha not positive; the given state is still good.
    """
    config, number = problem.config, state.iteration + 1
    spec = FlatSpec.of(problem.network)

    # 1. an expert trajectory and a start epoch
    choice = stream(problem.seed, "distill", number, "start")
    expert_id = int(torch.randint(len(problem.experts), (), generator=choice))
    start_epoch = draw_start_epoch(config, state.last_start_epoch, choice)
    segment = problem.experts.segment(expert_id, start_epoch, config.expert_epochs)
    segment = [theta.to(state.images) for theta in segment]

    # 2. weight perturbation (Eq. 23)
    noise = stream(problem.seed, "distill", number, "perturbation")
    start = perturb(segment[0], spec, config.rho, noise, scope=config.perturb_scope, vectors=config.perturb_vectors)

    # 3. N student steps (Eq. 20-21), 4. compared at the matching points (Eq. 22), 5. differentiated
    nu = 1.0
    if config.balanced_inner_loss:
        nu = balance(start_epoch, config.max_start_epoch, vartheta=config.vartheta, log_base=config.log_base)
    height, width = state.images.shape[2:]
    plan = stream(problem.seed, "distill", number, "student")
    steps = plan_steps(config, problem.labels, (height, width), problem.network.classifier.in_features, plan)
    points = matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy)
    targets = targets_of(start, segment, points, expert_id=expert_id, start_epoch=start_epoch)
    student = Student(problem.network, spec, problem.labels, nu, config.student_momentum)
    arguments = (student, start, steps, targets, state.images, state.student_lr)
    result = hypergradient(*arguments, method=config.gradient, engine=problem.engine)

    loss = float(result.loss)
    report = IterationReport(
        iteration=number,
        expert_id=expert_id,
        start_epoch=start_epoch,
        nu=nu,
        loss=loss,
        relative_loss=loss / sum(point.beta for point in points),
        parts=tuple(float(part) for part in result.parts),
        student_lr=float(state.student_lr),
        image_gradient_norm=float(torch.linalg.vector_norm(result.images)),
        lr_gradient=float(result.alpha),
    )
    return _update(config, state, result, report), report


def _update(config: DistillConfig, state: DistillState, result: Hypergradient, report: IterationReport) -> DistillState:
    """SGD with momentum on pixels and alpha; refuses a step that is not finite or makes alpha <= 0."""
    for name, value in (
        ("matching loss", report.loss),
        ("image gradient", report.image_gradient_norm),
        ("alpha gradient", report.lr_gradient),
    ):
        if value != value or abs(value) == float("inf"):
            raise _divergence(report, f"{name} is {value}", "lower distill.student_lr, lr_img, lr_lr or syn_steps")
    image_velocity = config.outer_momentum * state.image_velocity + result.images
    lr_velocity = config.outer_momentum * state.lr_velocity + result.alpha
    student_lr = state.student_lr - config.lr_lr * lr_velocity
    if not 0 < float(student_lr) < float("inf"):
        raise _divergence(report, f"alpha would become {float(student_lr):.3g}", "lower distill.lr_lr")
    images = state.images - config.lr_img * image_velocity
    if not torch.isfinite(images).all():
        raise _divergence(report, "pixels would stop being finite", "lower distill.lr_img")
    return replace(
        state,
        images=images,
        image_velocity=image_velocity,
        student_lr=student_lr,
        lr_velocity=lr_velocity,
        iteration=report.iteration,
        last_start_epoch=report.start_epoch,
    )


def _divergence(report: IterationReport, cause: str, advice: str) -> DivergenceError:
    where = f"iteration {report.iteration}, expert {report.expert_id}, start epoch {report.start_epoch}"
    return DivergenceError(
        f"distillation stopped at {where}: {cause} (alpha was {report.student_lr:.3g}, nu {report.nu:.3g}); {advice}, "
        "or train smoother experts (expert.penalty_weight, expert.clip_schedule)"
    )
