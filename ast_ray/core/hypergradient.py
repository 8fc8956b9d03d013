"""The exact gradient of the matching loss with respect to the pixels and alpha, two ways behind one signature.

``full_graph`` unrolls the N steps under autograd and keeps N graphs alive. ``recompute`` keeps the weights
theta_0..theta_N only and walks back with one double backward per step, so its memory does not grow with N beyond
N*P numbers. Both give the same gradient; the tests hold them against each other and against finite differences.

With student momentum m the step is v_{n+1} = m*v_n + g_n, theta_{n+1} = theta_n - alpha*v_{n+1}; writing a for the
adjoint of theta, u for that of v:

    w            = u_{n+1} - alpha*a_{n+1}                      adjoint of v_{n+1}, hence of g_n
    dL/dalpha   -= <v_{n+1}, a_{n+1}>
    (h, dL/ds+=) = grad_{theta,s} <g_n(theta_n, s), w>
    a_n          = a_{n+1} + h (+ dL_i/dtheta_n at matching points),   u_n = m*w
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ast_ray.core.matching import Target
from ast_ray.core.unroll import Student, StudentStep, run_student


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
    method: Literal["recompute", "full_graph"] = "recompute",
) -> Hypergradient:
    """Differentiate L = sum_i beta_i*L_i (Eq. 22) through the student's steps.

    Args:
        start: theta*_t [P]; steps: the planned steps; targets: by number of steps taken (1..N).
        images: D_syn [S, C, H, W]; alpha: the student's learning rate, a 0-dim tensor.
    """
    compute = {"recompute": _recompute, "full_graph": _full_graph}[method]
    return compute(student, start, steps, targets, images, alpha)


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


def _recompute(
    student: Student,
    start: Tensor,
    steps: Sequence[StudentStep],
    targets: Mapping[int, Target],
    images: Tensor,
    alpha: Tensor,
) -> Hypergradient:
    images, alpha = images.detach(), alpha.detach()
    weights, velocities = run_student(student, start, images, alpha, steps)
    parts = tuple(targets[number].loss(weights[number]) for number in sorted(targets))
    adjoint, velocity_adjoint = torch.zeros_like(start), torch.zeros_like(start)
    d_images, d_alpha = torch.zeros_like(images), torch.zeros_like(alpha)
    for n in range(len(steps) - 1, -1, -1):
        if n + 1 in targets:
            adjoint = adjoint + targets[n + 1].gradient(weights[n + 1])
        toward = velocity_adjoint - alpha * adjoint
        gradient, through_theta, through_batch = _step_vjp(student, weights[n], images, steps[n], toward)
        d_alpha = d_alpha - torch.dot(velocities[n] if velocities else gradient, adjoint)
        rows = steps[n].rows
        if rows is None:
            d_images += through_batch
        else:
            d_images.index_add_(0, rows, through_batch)
        adjoint = adjoint + through_theta
        velocity_adjoint = student.momentum * toward
        weights.pop()
    return Hypergradient(torch.stack(parts).sum(), parts, d_images, d_alpha)


def _step_vjp(
    student: Student, theta: Tensor, images: Tensor, step: StudentStep, toward: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return g_n [P] and the derivatives of <g_n, toward> with respect to theta_n [P] and the batch [B, C, H, W]."""
    theta = theta.detach().requires_grad_()
    batch = student.batch(images, step).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(student.loss(theta, batch, step), theta, create_graph=True)
    through_theta, through_batch = torch.autograd.grad(gradient, (theta, batch), grad_outputs=toward)
    return gradient.detach(), through_theta, through_batch
