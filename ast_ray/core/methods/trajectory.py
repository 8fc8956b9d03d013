"""Distillation phase: one outer iteration of Algorithm 2, as a function from state to state.

With ``segments = W`` an iteration matches W segments and averages their gradients; who computes which of them is the
caller's choice (`Matcher`) and does not change the result. Nothing here loops over iterations, writes files or logs:
that is `stages.distillation.loop`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.bilevel.hypergradient import Hypergradient, hypergradient
from ast_ray.core.bilevel.matching_loss import matching_points, targets_of
from ast_ray.core.bilevel.student import Student, plan_steps
from ast_ray.core.engines.autograd import Engine
from ast_ray.core.methods.ast import perturb
from ast_ray.core.methods.outer import OuterOptimizer, OuterState, SegmentGradient, initial_state, outer_optimizer
from ast_ray.core.methods.segment_draws import Draw, balance_of, draw_where, segment_stream
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec
from ast_ray.errors import DivergenceError


class Experts(Protocol):
    """A source of recorded trajectories."""

    def __len__(self) -> int:
        """Number of experts."""

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        """theta_t, ..., theta_{t+length}: ``length + 1`` vectors [P], and nothing else of the trajectory."""


SKIPS_IN_A_ROW = 10
"""Iterations in a row without a usable segment that stop a distillation."""


@dataclass(frozen=True)
class DistillState:
    """Everything that changes between iterations; a checkpoint is this and nothing more.

    ``skipped`` counts the segments that were not used, ``skipped_in_a_row`` the iterations just past without an update.
    """

    images: Tensor
    student_lr: Tensor
    outer: OuterState
    iteration: int = 0
    last_start_epoch: int = -1
    skipped: int = 0
    skipped_in_a_row: int = 0

    @classmethod
    def begin(cls, images: Tensor, student_lr: float) -> DistillState:
        """Return the state before the first iteration, from initial images [S, C, H, W]."""
        alpha = torch.tensor(student_lr, dtype=images.dtype, device=images.device)
        return cls(images.clone(), alpha, initial_state(images, alpha))

    @classmethod
    def from_saved(cls, tensors: Mapping[str, Tensor], numbers: Mapping[str, int]) -> DistillState:
        """Return the state that `tensors` and `numbers` describe; what an earlier version did not keep is 0."""
        alpha = tensors["student_lr"]
        outer = OuterState(
            image_velocity=tensors["image_velocity"],
            lr_velocity=tensors["lr_velocity"],
            image_scale=tensors.get("image_scale", torch.zeros_like(alpha)),
            lr_scale=tensors.get("lr_scale", torch.zeros_like(alpha)),
            updates=numbers.get("updates", 0),
        )
        counts = {name: numbers.get(name, 0) for name in ("skipped", "skipped_in_a_row")}
        where = {name: numbers[name] for name in ("iteration", "last_start_epoch")}
        return cls(tensors["images"], alpha, outer, **where, **counts)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state by name."""
        return {
            "images": self.images,
            "student_lr": self.student_lr,
            "image_velocity": self.outer.image_velocity,
            "lr_velocity": self.outer.lr_velocity,
            "image_scale": self.outer.image_scale,
            "lr_scale": self.outer.lr_scale,
        }

    @property
    def numbers(self) -> dict[str, int]:
        """The counts of the state by name."""
        names = ("iteration", "last_start_epoch", "skipped", "skipped_in_a_row")
        return {**{name: getattr(self, name) for name in names}, "updates": self.outer.updates}

    def on(self, device: torch.device) -> DistillState:
        """Return the same state with its tensors on a device."""
        return self.from_saved({name: tensor.to(device) for name, tensor in self.tensors.items()}, self.numbers)


@dataclass(frozen=True)
class IterationReport:
    """Losses relative to the expert's distance, draws and gradient norms of one iteration.

    With several segments, losses, nu and gradients are those of the mean over the segments used, or over all where
    none was; ``expert_id`` and ``start_epoch`` are those of the first one, and ``segments`` lists all of them (empty
    with one). ``skipped`` counts the segments not used so far, this iteration's included; ``unusable`` says why this
    iteration's first such segment was not used (empty: all were).
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
    skipped: int = 0
    unusable: str = ""

    @property
    def finite(self) -> bool:
        """True where every number of the report is finite."""
        return all(math.isfinite(value) for value in (self.loss, self.image_gradient_norm, self.lr_gradient))

    def row(self) -> dict[str, Any]:
        """Return the report as a row of metrics; numbers that are not finite are null."""
        values = asdict(self)
        for name in ("segments", "unusable"):
            if not values[name]:
                del values[name]
        if not self.skipped:
            del values["skipped"]
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                values[name] = None
        values["parts"] = [part if math.isfinite(part) else None for part in self.parts]
        return values


@dataclass(frozen=True)
class Problem:
    """The constants of a distillation: the network's layout, labels [S], experts, settings, seed, engine.

    Without an engine the student's steps are autograd's. ``image_std`` is the real images' standard deviation, the
    unit of ``distill.step_img``.
    """

    network: Network
    labels: Tensor
    experts: Experts
    config: DistillConfig
    seed: int
    engine: Engine | None = None
    image_std: float = 1.0

    @property
    def outer(self) -> OuterOptimizer:
        """The outer optimizer of the settings."""
        return outer_optimizer(self.config, self.image_std)


Matcher = Callable[["Problem", DistillState, Sequence[Draw]], Sequence[Hypergradient]]
"""Computes the hypergradient of every draw, in the order of the draws."""


def draw_segment(problem: Problem, state: DistillState, place: int) -> Draw:
    """Choose an expert and a start epoch for the segment at ``place`` of the next iteration."""
    config, number = problem.config, state.iteration + 1
    expert_id, start_epoch = draw_where(
        config, problem.seed, len(problem.experts), number, place, state.last_start_epoch
    )
    return Draw(number, place, expert_id, start_epoch, balance_of(config, start_epoch))


def match_segment(problem: Problem, state: DistillState, draw: Draw) -> Hypergradient:
    """Match one segment from the state's images and alpha: the matching loss (Eq. 22) and its gradient."""
    config, spec = problem.config, FlatSpec.of(problem.network)

    # 1. the drawn expert's weights from the start epoch on
    expert_id, start_epoch = draw.expert_id, draw.start_epoch
    segment = problem.experts.segment(expert_id, start_epoch, config.expert_epochs)
    segment = [theta.to(state.images) for theta in segment]

    # 2. weight perturbation (Eq. 23)
    noise = segment_stream(problem.seed, draw.iteration, "perturbation", draw.place)
    start = perturb(segment[0], spec, config.rho, noise, scope=config.perturb_scope, vectors=config.perturb_vectors)

    # 3. N student steps (Eq. 20-21), 4. compared at the matching points (Eq. 22), 5. differentiated
    height, width = state.images.shape[2:]
    plan = segment_stream(problem.seed, draw.iteration, "student", draw.place)
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
    loss = first.loss
    images = first.images
    alpha = first.alpha
    parts = list(first.parts)
    for result in results[1:]:
        loss = loss + result.loss
        images = images + result.images
        alpha = alpha + result.alpha
        parts = [one + other for one, other in zip(parts, result.parts, strict=True)]
    return Hypergradient(loss / count, tuple(part / count for part in parts), images / count, alpha / count)


def iterate(
    problem: Problem, state: DistillState, match_all: Matcher = one_after_another
) -> tuple[DistillState, IterationReport]:
    """Run one iteration of Algorithm 2: draw the segments, match them, average, update.

    A segment whose loss or gradient is not finite, or whose gradient is far beyond its running scale, is not used. An
    iteration without a usable segment leaves images and alpha as they are.

    Raises:
        DivergenceError: ``SKIPS_IN_A_ROW`` iterations without a usable segment, or an update that is not finite or
            would make alpha negative; the given state is still good.
    """
    draws = [draw_segment(problem, state, place) for place in range(problem.config.segments)]
    results = match_all(problem, state, draws)
    reasons = [_unusable(problem, state, result) for result in results]
    usable = [result for result, reason in zip(results, reasons, strict=True) if not reason]
    mean = average(usable or results)
    report = _report(problem.config, state, draws, mean, reasons)
    if not usable:
        return _skip(problem, state, results, report, draws[0]), report
    try:
        gradients = [SegmentGradient(one.images, one.alpha, total_weight(problem.config)) for one in usable]
        outer, images, student_lr = problem.outer.update(
            state.outer, state.images, state.student_lr, gradients, mean.images
        )
    except DivergenceError as error:
        raise _divergence(report, str(error), "; ".join(error.__notes__)) from None
    return replace(
        state,
        images=images,
        student_lr=student_lr,
        outer=outer,
        iteration=report.iteration,
        last_start_epoch=report.start_epoch,
        skipped=report.skipped,
        skipped_in_a_row=0,
    ), report


def _unusable(problem: Problem, state: DistillState, result: Hypergradient) -> str:
    """Return why a segment is not used; empty when it is."""
    for name, value in (
        ("matching loss", result.loss),
        ("image gradient", torch.linalg.vector_norm(result.images)),
        ("alpha gradient", result.alpha),
    ):
        if not math.isfinite(float(value)):
            return f"{name} is {float(value)}"
    if problem.outer.is_outlier(state.outer, result.images, problem.config.segments):
        return "image gradient is far beyond its running scale"
    return ""


def _skip(
    problem: Problem, state: DistillState, results: Sequence[Hypergradient], report: IterationReport, draw: Draw
) -> DistillState:
    """Return the state after an iteration without an update.

    Raises:
        DivergenceError: too many in a row.
    """
    in_a_row = state.skipped_in_a_row + 1
    if in_a_row >= SKIPS_IN_A_ROW:
        advice = "lower distill.student_lr or distill.syn_steps"
        raise _divergence(report, f"{report.unusable}, {in_a_row} iterations in a row without an update", advice, draw)
    outer = state.outer
    for result in results:
        if bool(torch.isfinite(result.images).all()):
            outer = problem.outer.absorb(outer, result.images)
    return replace(
        state,
        outer=outer,
        iteration=report.iteration,
        last_start_epoch=report.start_epoch,
        skipped=report.skipped,
        skipped_in_a_row=in_a_row,
    )


def total_weight(config: DistillConfig) -> float:
    """Return the sum of the weights beta: the loss of a student that covers nothing."""
    return sum(point.beta for point in matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy))


def _report(
    config: DistillConfig, state: DistillState, draws: Sequence[Draw], mean: Hypergradient, reasons: Sequence[str]
) -> IterationReport:
    loss, first = float(mean.loss), draws[0]
    skipped = [reason for reason in reasons if reason]
    return IterationReport(
        iteration=first.iteration,
        expert_id=first.expert_id,
        start_epoch=first.start_epoch,
        nu=sum(draw.nu for draw in draws) / len(draws),
        loss=loss,
        relative_loss=loss / total_weight(config),
        parts=tuple(float(part) for part in mean.parts),
        student_lr=float(state.student_lr),
        image_gradient_norm=float(torch.linalg.vector_norm(mean.images)),
        lr_gradient=float(mean.alpha),
        segments=tuple((draw.expert_id, draw.start_epoch) for draw in draws) if len(draws) > 1 else (),
        skipped=state.skipped + len(skipped),
        unusable=skipped[0] if skipped else "",
    )


def _divergence(report: IterationReport, cause: str, advice: str, draw: Draw | None = None) -> DivergenceError:
    """Return the error that says what diverged: one segment, or the mean of several."""
    where = f"iteration {report.iteration}"
    nu = report.nu
    count = len(report.segments)
    if count and draw is None:
        where += f", mean of {count} segments"
    elif count and draw is not None:
        nu = draw.nu
        where += f", segment {draw.place + 1} of {count}, expert {draw.expert_id}, start epoch {draw.start_epoch}"
    else:
        where += f", expert {report.expert_id}, start epoch {report.start_epoch}"
    reason = f"{cause} (alpha was {report.student_lr:.3g}, nu {nu:.3g})"
    advice = f"{advice}, or train smoother experts (expert.penalty_weight, expert.clip_schedule)"
    text = f"distillation stopped at {where}: {reason}; {advice}"
    return DivergenceError(text, reason=reason, advice=advice, iteration=report.iteration)
