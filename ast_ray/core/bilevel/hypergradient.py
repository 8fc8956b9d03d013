"""The gradient of the matching loss with respect to the pixels and alpha: exact in three ways, and TESLA's part of it.

``full_graph`` unrolls the N steps under autograd and keeps N graphs alive. ``recompute`` keeps the weights
theta_0..theta_N only and walks back, each step's gradient computed again before it is differentiated, so its memory
does not grow with N beyond N*P numbers. ``stored`` walks back the same way with every step's intermediates kept, which
saves a quarter of the arithmetic. All give the same gradient, the last two to the bit; the tests hold them against
each other and against finite differences. What a step computes with is its engine (`core.engines`).

With student momentum m the step is v_{n+1} = m*v_n + g_n, theta_{n+1} = theta_n - alpha*v_{n+1}; writing a for the
adjoint of theta, u for that of v:

    w            = u_{n+1} - alpha*a_{n+1}                      adjoint of v_{n+1}, hence of g_n
    dL/dalpha   -= <v_{n+1}, a_{n+1}>
    (h, dL/ds+=) = grad_{theta,s} <g_n(theta_n, s), w>
    a_n          = a_{n+1} + h (+ dL_i/dtheta_n at matching points),   u_n = m*w

``direct`` is another gradient: TESLA's (arXiv 2211.10586), which takes every theta_n as a constant where g_n is
differentiated. It is the walk back without h, which is not computed: a_n is the sum of the later matching points'
gradients. With e = theta_N - theta*, D = ||theta_0 - theta*||^2, one matching point at the end and no momentum:

    dL/ds = -(2*alpha/D) * sum_n d/ds <g_n(theta_n, s), e>,    dL/dalpha = -(2/D) * <sum_n g_n, e>

The authors' code lacks the factor 2 of dL/ds: its rate of the pixels is twice the one here. With student momentum, of
which TESLA has none, theta_n is a constant inside g_n alone: v_{n+1} and theta_{n+1} still depend on s and alpha as the
sums of the g_n that they are, so u is carried as above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ast_ray.core.augmentation import pull_back
from ast_ray.core.bilevel.matching_loss import Target
from ast_ray.core.bilevel.student import Student, StudentStep, run_student
from ast_ray.core.engines.autograd import Engine, RoomyEngine


@dataclass(frozen=True)
class Hypergradient:
    """Matching loss, its part at each matching point, and its gradients (images [S, C, H, W], alpha scalar)."""

    loss: Tensor
    parts: tuple[Tensor, ...]
    images: Tensor
    alpha: Tensor


def hypergradient(
    student: Student,
    start: Tensor,
    steps: Sequence[StudentStep],
    targets: Mapping[int, Target],
    images: Tensor,
    alpha: Tensor,
    *,
    method: Literal["auto", "recompute", "stored", "full_graph", "direct"] = "recompute",
    engine: Engine | None = None,
) -> Hypergradient:
    """Differentiate L = sum_i beta_i*L_i (Eq. 22) through the student's steps.

    Args:
        start: theta*_t [P]; steps: the planned steps; targets: by number of steps taken (1..N).
        images: D_syn [S, C, H, W]; alpha: the student's learning rate, a 0-dim tensor.
        method: ``auto``, which a stage resolves by memory, is ``recompute`` here; ``direct`` is not this derivative
            but TESLA's part of it (see the module), and keeps intermediates as ``stored`` does with a `RoomyEngine`.
        engine: of all but the full graph, which is autograd's by nature; None = autograd.
    """
    if method == "full_graph":
        return _full_graph(student, start, steps, targets, images, alpha)
    engine = engine or student.reference
    direct = method == "direct"
    stored = method == "stored" or (direct and isinstance(engine, RoomyEngine))
    return _walk_back(student, start, steps, targets, images, alpha, engine, stored=stored, direct=direct)


def _full_graph(
    student: Student,
    start: Tensor,
    steps: Sequence[StudentStep],
    targets: Mapping[int, Target],
    images: Tensor,
    alpha: Tensor,
) -> Hypergradient:
    images, alpha = images.detach().requires_grad_(), alpha.detach().requires_grad_()
    theta, velocity = start.detach().requires_grad_(), torch.zeros_like(start)
    parts = []
    for number, step in enumerate(steps, 1):
        loss = student.loss(theta, student.batch(images, step), step)
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
        velocity = student.momentum * velocity + gradient
        theta = theta - alpha * velocity
        if number in targets:
            parts.append(targets[number].loss(theta))
    total = torch.stack(parts).sum()
    d_images, d_alpha = torch.autograd.grad(total, (images, alpha))
    return Hypergradient(total.detach(), tuple(part.detach() for part in parts), d_images, d_alpha)


def _walk_back(
    student: Student,
    start: Tensor,
    steps: Sequence[StudentStep],
    targets: Mapping[int, Target],
    images: Tensor,
    alpha: Tensor,
    engine: Engine,
    *,
    stored: bool,
    direct: bool,
) -> Hypergradient:
    images, alpha = images.detach(), alpha.detach()
    run = run_student(student, start, images, alpha, steps, engine=engine, keep=stored)
    parts = tuple(targets[number].loss(run.weights[number]) for number in sorted(targets))
    adjoint, velocity_adjoint = torch.zeros_like(start), torch.zeros_like(start)
    d_images, d_alpha = torch.zeros_like(images), torch.zeros_like(alpha)
    for n in range(len(steps) - 1, -1, -1):
        if n + 1 in targets:
            adjoint = adjoint + targets[n + 1].gradient(run.weights[n + 1])
        toward = velocity_adjoint - alpha * adjoint
        batch = student.batch(images, steps[n])
        if stored:
            gradient, kept = run.kept.pop()
        else:
            gradient, kept = engine.gradient(run.weights[n], student.data(batch, steps[n]), keep=True)
        through_theta = None
        if direct:
            through_augmented = engine.image_derivative(kept, toward)
        else:
            through_theta, through_augmented = engine.derivative(kept, toward)
        del kept  # or it would live beside the next step's
        through_batch = pull_back(batch, steps[n].augmentation, through_augmented)
        d_alpha = d_alpha - torch.dot(run.velocities[n] if student.momentum else gradient, adjoint)
        rows = steps[n].rows
        if rows is None:
            d_images += through_batch
        else:
            d_images.index_add_(0, rows, through_batch)
        if through_theta is not None:
            adjoint = adjoint + through_theta
        velocity_adjoint = student.momentum * toward
        run.weights.pop()
    return Hypergradient(torch.stack(parts).sum(), parts, d_images, d_alpha)
