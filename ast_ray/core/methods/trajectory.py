"""Trajectory matching (AST, MTT, TESLA, FTD): a student matches segments of experts' trajectories (Algorithm 2).

With ``segments = W`` an iteration matches W segments and averages their gradients (`iteration.iterate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.bilevel.hypergradient import hypergradient
from ast_ray.core.bilevel.matching_loss import matching_points, targets_of
from ast_ray.core.bilevel.student import Student, plan_steps
from ast_ray.core.engines.autograd import Engine
from ast_ray.core.methods import base
from ast_ray.core.methods.assigned_labels import assigned_labels
from ast_ray.core.methods.ast import perturb
from ast_ray.core.methods.averaging import begin_average, publishes_average, updated_average
from ast_ray.core.methods.base import (
    IMAGES,
    STUDENT_LR,
    TARGETS,
    Experts,
    Gradients,
    OuterOptimizer,
    Problem,
    Sources,
    State,
)
from ast_ray.core.methods.outer import outer_optimizer, total_weight
from ast_ray.core.methods.segment_draws import Draw, balance_of, draw_where, segment_stream
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec
from ast_ray.errors import DivergenceError

AVERAGE = "average"
"""The moving average of the images [S, C, H, W], in the state where ``distill.image_average`` is on."""


@dataclass(frozen=True, kw_only=True)
class Report(base.Report):
    """Losses relative to the expert's distance, draws and gradient norms of one iteration.

    With several segments, losses, nu and gradients are those of the mean over the segments used, or over all where
    none was; ``expert_id`` and ``start_epoch`` are those of the first one, and ``segments`` lists all of them (empty
    with one).
    """

    expert_id: int
    start_epoch: int
    nu: float
    parts: tuple[float, ...]
    student_lr: float
    lr_gradient: float
    segments: tuple[tuple[int, int], ...] = ()

    unit: ClassVar[str] = "segment"

    @property
    def finite(self) -> bool:
        """True where every number of the report is finite."""
        return super().finite and math.isfinite(self.lr_gradient)

    def values(self) -> dict[str, Any]:
        """See `base.Report.values`."""
        ordered = {name: getattr(self, name) for name in _COLUMNS}
        if not self.segments:
            del ordered["segments"]
        return ordered

    def scalars(self) -> dict[str, float]:
        """See `base.Report.scalars`."""
        return {
            "match/loss": self.loss,
            "match/relative_loss": self.relative_loss,
            "match/start_epoch": self.start_epoch,
            "match/skipped": self.skipped,
            "student/lr_alpha": self.student_lr,
            "student/nu": self.nu,
            "gradient/images_norm": self.image_gradient_norm,
            "gradient/alpha": self.lr_gradient,
        }

    def note(self) -> str:
        """See `base.Report.note`."""
        return f"{super().note()}, alpha {self.student_lr:.4g}"

    def describe_unit(self) -> str:
        """See `base.Report.describe_unit`."""
        return f"a segment of expert {self.expert_id}"


_COLUMNS = (
    "iteration", "expert_id", "start_epoch", "nu", "loss", "relative_loss", "parts", "student_lr",
    "image_gradient_norm", "lr_gradient", "segments", "skipped", "unusable",
)  # fmt: skip


@dataclass(frozen=True)
class TrajectoryMatching(Problem):
    """The constants of a distillation: the network's layout, labels [S], experts, settings, seed, engine.

    Without an engine the student's steps are autograd's. ``image_std`` is the real images' standard deviation, the
    unit of ``distill.step_img``. With ``assigned`` labels the student learns the probabilities that the segment's
    target weights give the images (TESLA); published are those of the last iteration's first segment, given to the
    images as they are after its update.
    """

    network: Network
    labels: Tensor
    experts: Experts
    config: DistillConfig
    seed: int
    engine: Engine | None = None
    image_std: float = 1.0
    assigned: bool = False

    skip_advice = "lower distill.student_lr or distill.syn_steps"

    @property
    def outer(self) -> OuterOptimizer:
        """See `Problem.outer`: that of the settings."""
        return outer_optimizer(self.config, self.image_std)

    @property
    def units(self) -> int:
        """See `Problem.units`: segments."""
        return self.config.segments

    def begin(self, images: Tensor, student_lr: float) -> State:
        """See `Problem.begin`."""
        alpha = torch.tensor(student_lr, dtype=images.dtype, device=images.device)
        learned = {IMAGES: images.clone(), STUDENT_LR: alpha}
        carried = self.outer.init(learned)
        if self.config.image_average:
            carried[AVERAGE] = begin_average(images)
        if self.assigned:
            carried[TARGETS] = F.one_hot(self.labels, self.network.classifier.out_features).to(images)
        return State.begin({**learned, **carried}, last_start_epoch=-1)

    def draw(self, state: State, place: int) -> Draw:
        """Choose an expert and a start epoch for the segment at ``place`` of the next iteration."""
        config, number = self.config, state.iteration + 1
        last = state.numbers["last_start_epoch"]
        expert_id, start_epoch = draw_where(config, self.seed, len(self.experts), number, place, last)
        return Draw(number, place, expert_id, start_epoch, balance_of(config, start_epoch))

    def gradients(self, state: State, draw: base.Draw) -> Gradients:
        """Match one segment from the state's images and alpha: the matching loss (Eq. 22) and its gradient."""
        config, spec = self.config, FlatSpec.of(self.network)
        segment_draw = cast(Draw, draw)

        # 1. the drawn expert's weights from the start epoch on
        expert_id, start_epoch = segment_draw.expert_id, segment_draw.start_epoch
        segment = self.experts.segment(expert_id, start_epoch, config.expert_epochs)
        segment = [theta.to(state.images) for theta in segment]

        # 2. weight perturbation (Eq. 23)
        noise = segment_stream(self.seed, draw.iteration, "perturbation", draw.place)
        start = perturb(segment[0], spec, config.rho, noise, scope=config.perturb_scope, vectors=config.perturb_vectors)

        # 3. N student steps (Eq. 20-21), 4. compared at the matching points (Eq. 22), 5. differentiated
        height, width = state.images.shape[2:]
        plan = segment_stream(self.seed, draw.iteration, "student", draw.place)
        steps = plan_steps(config, self.labels, (height, width), self.network.classifier.in_features, plan)
        points = matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy)
        targets = targets_of(start, segment, points, expert_id=expert_id, start_epoch=start_epoch)
        soft = self._assign(segment[-1], state.images) if self.assigned else None
        student = Student(
            self.network,
            spec,
            self.labels,
            segment_draw.nu,
            config.student_momentum,
            config.precision,
            soft,
        )
        arguments = (student, start, steps, targets, state.images, state.student_lr)
        found = hypergradient(*arguments, method=config.gradient, engine=self.engine)
        return Gradients(found.loss, {IMAGES: found.images, STUDENT_LR: found.alpha}, found.parts)

    def report(self, state: State, draws: Sequence[base.Draw], mean: Gradients) -> Report:
        """See `Problem.report`."""
        loss, segments = float(mean.loss), cast(Sequence[Draw], draws)
        first = segments[0]
        return Report(
            iteration=first.iteration,
            expert_id=first.expert_id,
            start_epoch=first.start_epoch,
            nu=sum(draw.nu for draw in segments) / len(segments),
            loss=loss,
            relative_loss=loss / total_weight(self.config),
            parts=tuple(float(part) for part in mean.parts),
            student_lr=float(state.student_lr),
            image_gradient_norm=float(torch.linalg.vector_norm(mean.learned[IMAGES])),
            lr_gradient=float(mean.learned[STUDENT_LR]),
            segments=tuple((draw.expert_id, draw.start_epoch) for draw in segments) if len(segments) > 1 else (),
        )

    def advance(self, state: State, draws: Sequence[base.Draw]) -> State:
        """See `Problem.advance`: the first start epoch is remembered, for ``distill.start_epoch_window``."""
        first, found = cast(Draw, draws[0]), dict[str, Tensor]()
        if self.config.image_average:
            found[AVERAGE] = updated_average(state.tensors[AVERAGE], state.images, self.config.image_average)
        if self.assigned:
            (target,) = self.experts.segment(first.expert_id, first.start_epoch + self.config.expert_epochs, 0)
            found[TARGETS] = self._assign(target.to(state.images), state.images)
        return state.changed(found, last_start_epoch=first.start_epoch)

    def published(self, state: State) -> Mapping[str, Tensor]:
        """See `Problem.published`: the average of the images where it is far enough from their start (FTD)."""
        found = dict(super().published(state))
        if publishes_average(self.config.image_average, self.config.iterations):
            found[IMAGES] = state.tensors[AVERAGE]
        return found

    def _assign(self, theta: Tensor, images: Tensor) -> Tensor:
        return assigned_labels(self.network, theta, images, precision=self.config.precision)

    def divergence(
        self, report: base.Report, cause: str, advice: str, draw: base.Draw | None = None
    ) -> DivergenceError:
        """Return the error that says what diverged: one segment, or the mean of several."""
        known = cast(Report, report)
        where = f"iteration {known.iteration}"
        nu = known.nu
        count = len(known.segments)
        if count and draw is None:
            where += f", mean of {count} segments"
        elif count:
            segment = cast(Draw, draw)
            nu = segment.nu
            where += f", segment {segment.place + 1} of {count}, expert {segment.expert_id}, "
            where += f"start epoch {segment.start_epoch}"
        else:
            where += f", expert {known.expert_id}, start epoch {known.start_epoch}"
        reason = f"{cause} (alpha was {known.student_lr:.3g}, nu {nu:.3g})"
        advice = f"{advice}, or train smoother experts (expert.penalty_weight, expert.clip_schedule)"
        text = f"distillation stopped at {where}: {reason}; {advice}"
        return DivergenceError(text, reason=reason, advice=advice, iteration=report.iteration)


def open_direct(sources: Sources) -> TrajectoryMatching:
    """Return the problem of TESLA's settings; errors as `open_problem`."""
    return replace(open_problem(sources), assigned=sources.config.direct_matching.assigned_labels)


def open_problem(sources: Sources) -> TrajectoryMatching:
    """Return the problem of AST's, MTT's and FTD's settings, matched to experts.

    Raises:
        ValueError: no experts given.
    """
    if sources.experts is None:
        raise ValueError("trajectory matching needs experts")
    return TrajectoryMatching(
        sources.network,
        sources.labels,
        sources.experts,
        sources.config.distill,
        sources.config.seed,
        sources.engine,
        sources.image_std,
    )
