"""Probe of a few expert segments before the first iteration: can the student reach the expert, and at which alpha?

The student walks N steps of length alpha*||g||/(1 - m), with g the gradient of the scaled inner loss (Eq. 20) and m its
momentum; the expert moves by d = ||theta_{t+M} - theta*_t||. So alpha = d*(1 - m)/(N*||g||) makes the walk as long as
the way. The matching loss (Eq. 22; 1 = nothing covered) is measured there and at factors of two around it, and alpha
starts where the loss is smallest, but no further than the walk that is as long as the way: alpha grows by itself as the
images learn where to lead, while a start beyond it moves the images in directions they do not recover from.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.core.bilevel.matching_loss import Target, matching_points, targets_of
from ast_ray.core.bilevel.student import Student, StudentStep, plan_steps, run_student
from ast_ray.core.methods.ast import perturb
from ast_ray.core.methods.outer import total_weight
from ast_ray.core.methods.segment_draws import balance_of
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream

SEGMENTS = 3
"""Segments probed: start epochs 0, (T+ - 1)/2 and T+ - 1, of different experts where there are several."""
_FACTOR, _MOST_FACTORS = 2.0, 12
_FALLBACK = 0.01  # alpha where the gradient or the distance is zero or not finite


@dataclass(frozen=True)
class Coverage:
    """The outcome of a probe; losses are means over the probed segments, relative (1 = nothing covered).

    ``student_lr`` is the alpha the student starts with and ``loss`` its loss; ``walk_lr`` is the alpha that makes the
    student's walk as long as the expert's way; ``suggested_lr`` is the smaller of it and the alpha with ``best_loss``,
    the smallest loss found. ``distance`` is the mean of ||theta_{t+M} - theta*_t||, ``perturbed`` the share of its
    square that is the perturbation alone. Losses that are not finite are infinite.
    """

    student_lr: float
    loss: float
    walk_lr: float
    suggested_lr: float
    best_loss: float
    distance: float
    perturbed: float

    @property
    def reach(self) -> float:
        """Length of the student's walk in units of the expert's way."""
        return self.student_lr / self.walk_lr


@dataclass(frozen=True)
class _Segment:
    student: Student
    start: Tensor
    steps: Sequence[StudentStep]
    targets: Mapping[int, Target]
    distance: float
    perturbed: float


def probe(problem: TrajectoryMatching, images: Tensor, student_lr: float = 0.0) -> Coverage:
    """Probe the experts with the initial images [S, C, H, W].

    Args:
        student_lr: alpha_0; 0 = the suggested one.

    Raises:
        StoreError: an expert does not move between the epochs matched.
    """
    segments = [_open(problem, images, number) for number in range(len(_start_epochs(problem)))]
    guess = _walk_as_long_as_the_way(problem, images, segments)
    losses: dict[float, float] = {}

    def loss(alpha: float) -> float:
        if alpha not in losses:
            losses[alpha] = _mean_loss(problem, images, segments, alpha)
        return losses[alpha]

    best = _descend(loss, guess)
    suggested = min(guess, best)
    chosen = student_lr or suggested
    return Coverage(
        student_lr=chosen,
        loss=loss(chosen),
        walk_lr=guess,
        suggested_lr=suggested,
        best_loss=loss(best),
        distance=statistics.fmean(segment.distance for segment in segments),
        perturbed=statistics.fmean(segment.perturbed for segment in segments),
    )


def _start_epochs(problem: TrajectoryMatching) -> list[int]:
    last = problem.config.max_start_epoch - 1
    return sorted({place * last // (SEGMENTS - 1) for place in range(SEGMENTS)})


def _open(problem: TrajectoryMatching, images: Tensor, number: int) -> _Segment:
    """Read the probe's segment ``number`` and plan the student's steps on it."""
    config, spec = problem.config, FlatSpec.of(problem.network)
    start_epoch, expert_id = _start_epochs(problem)[number], number % len(problem.experts)
    epochs = [theta.to(images) for theta in problem.experts.segment(expert_id, start_epoch, config.expert_epochs)]
    noise, plan = (stream(problem.seed, "distill", "probe", role, number) for role in ("perturbation", "student"))
    start = perturb(epochs[0], spec, config.rho, noise, scope=config.perturb_scope, vectors=config.perturb_vectors)
    height, width = images.shape[2:]
    steps = plan_steps(config, problem.labels, (height, width), problem.network.classifier.in_features, plan)
    points = matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy)
    targets = targets_of(start, epochs, points, expert_id=expert_id, start_epoch=start_epoch)
    nu = balance_of(config, start_epoch)
    student = Student(problem.network, spec, problem.labels, nu, config.student_momentum, config.precision)
    distance = float(torch.linalg.vector_norm(start - epochs[-1]))
    perturbed = float(torch.linalg.vector_norm(start - epochs[0])) ** 2 / distance**2
    return _Segment(student, start, steps, targets, distance, perturbed)


def _walk_as_long_as_the_way(problem: TrajectoryMatching, images: Tensor, segments: Sequence[_Segment]) -> float:
    """Return the geometric mean of d*(1 - m)/(N*||g||) over the segments, g at the start.

    The balance nu of Eq. 20 makes ||g|| several times larger for late start epochs, and one alpha serves them all.
    """
    config, guesses = problem.config, []
    for one in segments:
        run = run_student(one.student, one.start, images, torch.ones_like(one.start[0]), one.steps[:1])
        norm = float(torch.linalg.vector_norm(run.weights[1] - one.start))
        guesses.append(one.distance * (1 - config.student_momentum) / (config.syn_steps * norm) if norm else math.nan)
    usable = [guess for guess in guesses if math.isfinite(guess) and guess > 0]
    return statistics.geometric_mean(usable) if usable else _FALLBACK


def _mean_loss(problem: TrajectoryMatching, images: Tensor, segments: Sequence[_Segment], alpha: float) -> float:
    rate, losses = torch.tensor(alpha, dtype=images.dtype, device=images.device), []
    for one in segments:
        run = run_student(one.student, one.start, images, rate, one.steps, engine=problem.engine)
        loss = sum(float(target.loss(run.weights[number])) for number, target in one.targets.items())
        losses.append(loss / total_weight(problem.config))
    mean = statistics.fmean(losses)
    return mean if math.isfinite(mean) else math.inf


def _descend(loss: Callable[[float], float], start: float) -> float:
    """Return the best of start * 2^k, walking from k = 0 as long as the loss falls, or is infinite on the way down."""
    best = start
    for factor in (_FACTOR, 1 / _FACTOR):
        for _ in range(_MOST_FACTORS):
            overflows = factor < 1 and loss(best) == math.inf
            if loss(best * factor) >= loss(best) and not overflows:
                break
            best *= factor
        if best != start:
            break
    return best
