"""Distillation phase: one outer iteration of Algorithm 2, as a function from state to state.

With ``segments = W`` an iteration matches W segments and averages their gradients; who computes which of them is the
caller's choice (`Matcher`) and does not change the result. Nothing here loops over iterations, writes files or logs:
that is `stages.distill`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

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

    def on(self, device: torch.device) -> DistillState:
        """The same state with its tensors on a device."""
        return replace(
            self,
            images=self.images.to(device),
            student_lr=self.student_lr.to(device),
            image_velocity=self.image_velocity.to(device),
            lr_velocity=self.lr_velocity.to(device),
        )


@dataclass(frozen=True)
class IterationReport:
    """What one iteration saw: losses relative to the expert's distance, draws and gradient norms.

    With several segments, losses, nu and gradients are those of the mean; ``expert_id`` and ``start_epoch`` are those
    of the first one, and ``segments`` lists all of them (empty with one).
    """

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
    segments: tuple[tuple[int, int], ...] = ()

    def row(self) -> dict[str, Any]:
        """The report as a row of metrics."""
        values = asdict(self)
        if not self.segments:
            del values["segments"]
        return values


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


@dataclass(frozen=True)
class Draw:
    """One of an iteration's segments: its place 0..W-1, whose trajectory, from which epoch, and the balance nu."""

    iteration: int
    place: int
    expert_id: int
    start_epoch: int
    nu: float


Matcher = Callable[["Problem", DistillState, Sequence[Draw]], Sequence[Hypergradient]]
"""Computes the hypergradient of every draw, in the order of the draws."""


def draw_start_epoch(config: DistillConfig, last: int, generator: torch.Generator) -> int:
    """Uniform on 0..T+ - 1, or within +-window of the last one (the alternative rejected in Sec. IV-C2)."""
    low, high = 0, config.max_start_epoch - 1
    if config.start_epoch_window and last >= 0:
        low, high = max(low, last - config.start_epoch_window), min(high, last + config.start_epoch_window)
    return low + int(torch.randint(high - low + 1, (), generator=generator))


def _stream(seed: int, iteration: int, role: str, place: int) -> torch.Generator:
    """The first segment's streams carry no place: what one segment draws is what the first of W draws."""
    name: tuple[str | int, ...] = ("distill", iteration, role)
    return stream(seed, *name, *([place] if place else []))


def draw_where(
    config: DistillConfig, seed: int, experts: int, iteration: int, place: int, last: int
) -> tuple[int, int]:
    """The expert and the start epoch of the segment at ``place``, ``last`` being the previous first start epoch."""
    choice = _stream(seed, iteration, "start", place)
    expert_id = int(torch.randint(experts, (), generator=choice))
    return expert_id, draw_start_epoch(config, last, choice)


def draw_segment(problem: Problem, state: DistillState, place: int) -> Draw:
    """Choose an expert and a start epoch for the segment at ``place`` of the next iteration."""
    config, number = problem.config, state.iteration + 1
    expert_id, start_epoch = draw_where(
        config, problem.seed, len(problem.experts), number, place, state.last_start_epoch
    )
    nu = 1.0
    if config.balanced_inner_loss:
        nu = balance(start_epoch, config.max_start_epoch, vartheta=config.vartheta, log_base=config.log_base)
    return Draw(number, place, expert_id, start_epoch, nu)


def match_segment(problem: Problem, state: DistillState, draw: Draw) -> Hypergradient:
    """Match one segment from the state's images and alpha: the matching loss (Eq. 22) and its gradient."""
    config, spec = problem.config, FlatSpec.of(problem.network)

    # 1. the drawn expert's weights from the start epoch on
    expert_id, start_epoch = draw.expert_id, draw.start_epoch
    segment = problem.experts.segment(expert_id, start_epoch, config.expert_epochs)
    segment = [theta.to(state.images) for theta in segment]

    # 2. weight perturbation (Eq. 23)
    noise = _stream(problem.seed, draw.iteration, "perturbation", draw.place)
    start = perturb(segment[0], spec, config.rho, noise, scope=config.perturb_scope, vectors=config.perturb_vectors)

    # 3. N student steps (Eq. 20-21), 4. compared at the matching points (Eq. 22), 5. differentiated
    height, width = state.images.shape[2:]
    plan = _stream(problem.seed, draw.iteration, "student", draw.place)
    steps = plan_steps(config, problem.labels, (height, width), problem.network.classifier.in_features, plan)
    points = matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy)
    targets = targets_of(start, segment, points, expert_id=expert_id, start_epoch=start_epoch)
    student = Student(problem.network, spec, problem.labels, draw.nu, config.student_momentum, config.precision)
    arguments = (student, start, steps, targets, state.images, state.student_lr)
    return hypergradient(*arguments, method=config.gradient, engine=problem.engine)


def one_after_another(problem: Problem, state: DistillState, draws: Sequence[Draw]) -> list[Hypergradient]:
    """Match every segment here."""
    return [match_segment(problem, state, draw) for draw in draws]


def average(results: Sequence[Hypergradient]) -> Hypergradient:
    """The mean over segments, added up in their order, so that the bytes do not depend on who computed which."""
    count, first = len(results), results[0]
    loss, images, alpha, parts = first.loss, first.images, first.alpha, list(first.parts)
    for result in results[1:]:
        loss, images, alpha = loss + result.loss, images + result.images, alpha + result.alpha
        parts = [one + other for one, other in zip(parts, result.parts, strict=True)]
    return Hypergradient(loss / count, tuple(part / count for part in parts), images / count, alpha / count)


def iterate(
    problem: Problem, state: DistillState, match_all: Matcher = one_after_another
) -> tuple[DistillState, IterationReport]:
    """Run one iteration of Algorithm 2: draw the segments, match them, average, update.

    Raises:
        DivergenceError: loss or gradient not finite, or alpha not positive; the given state is still good.
    """
    draws = [draw_segment(problem, state, place) for place in range(problem.config.segments)]
    results = match_all(problem, state, draws)
    mean = average(results)
    report = _report(problem.config, state, draws, mean)
    for name, value in (
        ("matching loss", report.loss),
        ("image gradient", report.image_gradient_norm),
        ("alpha gradient", report.lr_gradient),
    ):
        if not math.isfinite(value):
            place = _not_finite(results)
            advice = "lower distill.student_lr, lr_img, lr_lr or syn_steps"
            raise _divergence(report, f"{name} is {value}", advice, None if place is None else draws[place])
    return _update(problem.config, state, mean, report), report


def _not_finite(results: Sequence[Hypergradient]) -> int | None:
    """The first segment with a value that is not finite; None when only their sum overflows."""
    for place, result in enumerate(results):
        if not all(bool(torch.isfinite(value).all()) for value in (result.loss, result.images, result.alpha)):
            return place
    return None


def _report(config: DistillConfig, state: DistillState, draws: Sequence[Draw], mean: Hypergradient) -> IterationReport:
    loss, first = float(mean.loss), draws[0]
    points = matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy)
    return IterationReport(
        iteration=first.iteration,
        expert_id=first.expert_id,
        start_epoch=first.start_epoch,
        nu=sum(draw.nu for draw in draws) / len(draws),
        loss=loss,
        relative_loss=loss / sum(point.beta for point in points),
        parts=tuple(float(part) for part in mean.parts),
        student_lr=float(state.student_lr),
        image_gradient_norm=float(torch.linalg.vector_norm(mean.images)),
        lr_gradient=float(mean.alpha),
        segments=tuple((draw.expert_id, draw.start_epoch) for draw in draws) if len(draws) > 1 else (),
    )


def _update(config: DistillConfig, state: DistillState, mean: Hypergradient, report: IterationReport) -> DistillState:
    """SGD with momentum on pixels and alpha; refuses a step that is not finite or makes alpha <= 0."""
    image_velocity = config.outer_momentum * state.image_velocity + mean.images
    lr_velocity = config.outer_momentum * state.lr_velocity + mean.alpha
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


def _divergence(report: IterationReport, cause: str, advice: str, draw: Draw | None = None) -> DivergenceError:
    """What went wrong and where: in one segment, or in the mean of several."""
    where, nu, count = f"iteration {report.iteration}", report.nu, len(report.segments)
    if count and draw is None:
        where += f", mean of {count} segments"
    elif count and draw is not None:
        nu = draw.nu
        where += f", segment {draw.place + 1} of {count}, expert {draw.expert_id}, start epoch {draw.start_epoch}"
    else:
        where += f", expert {report.expert_id}, start epoch {report.start_epoch}"
    return DivergenceError(
        f"distillation stopped at {where}: {cause} (alpha was {report.student_lr:.3g}, nu {nu:.3g}); {advice}, "
        "or train smoother experts (expert.penalty_weight, expert.clip_schedule)"
    )
