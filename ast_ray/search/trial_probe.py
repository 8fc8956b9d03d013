"""Probe a trial before its experts are trained: a few expert steps tell what would otherwise cost a buffer of experts.

Expert 0 takes some steps on small batches; their direction, drawn out to whole epochs, stands in for the recorded
segment. The estimate is rough, so only what is hopeless by a wide margin is refused: experts that diverge at once,
a perturbation that drowns the match (Eq. 23), and a published update (``distill.outer = sgd``) whose first step is
larger than alpha itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ast_ray.config.settings import Config
from ast_ray.core.experts.training import train_expert
from ast_ray.core.methods.base import STUDENT_LR
from ast_ray.core.methods.coverage import probe
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.selection import initial_images
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.experts.train import expert_network

STEPS, BATCH = 8, 64
"""Expert steps taken, and the largest batch they are taken with."""
_DROWNED = 0.9  # share of the squared distance that is the perturbation
_STUDENT_STEPS = 10  # student steps of the probe at most; alpha's gradient is scaled up to N of them


@dataclass(frozen=True)
class _DrawnOut:
    """One expert on a straight line from theta_0: ``step`` [P] per epoch (see `core.methods.base.Experts`)."""

    start: Tensor
    step: Tensor

    def __len__(self) -> int:
        return 1

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        """Return theta_t, ..., theta_{t+length}."""
        return [self.start + (start_epoch + ahead) * self.step for ahead in range(length + 1)]


def refusal(config: Config) -> str:
    """Return why the trial of these settings cannot work, empty when nothing speaks against it.

    Raises:
        DataError, ConfigError: the images cannot be read.
    """
    with torch_threads(config.compute.threads):
        data = real_data(config.data, resolve_device(config.compute))
        try:
            experts = _drawn_out(config, data)
        except DivergenceError as error:
            return f"within {STEPS} steps, {error}"
        return _outlook(config, data, experts)


def _drawn_out(config: Config, data: RealData) -> _DrawnOut:
    """Take the expert's first steps and draw them out to an epoch per unit."""
    batch = min(config.expert.batch_size, BATCH, max(1, len(data.train_labels) // STEPS))
    steps = min(STEPS, len(data.train_labels) // batch)
    rows = torch.arange(steps * batch) * len(data.train_labels) // (steps * batch)  # spread over the classes
    rows = rows.to(data.train_labels.device)
    network = expert_network(config, data, 0)
    short = replace(config.expert, epochs=1, batch_size=batch, clip_schedule="constant", storage="float32")
    images, labels = data.train_images[rows], data.train_labels[rows]
    begin, end = train_expert(network, images, labels, short, seed=config.seed, expert_id=0)
    per_epoch = -(-len(data.train_labels) // config.expert.batch_size)
    return _DrawnOut(begin.theta, (end.theta - begin.theta) * per_epoch / steps)


def _outlook(config: Config, data: RealData, experts: _DrawnOut) -> str:
    steps = min(config.distill.syn_steps, _STUDENT_STEPS)
    steps = max(steps, config.distill.expert_epochs)  # a student step per matching point
    settings = replace(config.distill, syn_steps=steps, segments=1, max_start_epoch=1)
    if settings.gradient != "direct":  # another gradient; the rest are ways to one
        settings = replace(settings, gradient="recompute")
    network = expert_network(config, data, 0)
    images, labels = _images(config, data)
    problem = TrajectoryMatching(network, labels, experts, settings, config.seed, None, data.image_std)
    coverage = probe(problem, images, config.distill.student_lr)
    if coverage.perturbed > _DROWNED:
        share = f"{100 * coverage.perturbed:.0f} %"
        return f"distill.rho = {settings.rho:.2g}: the perturbation is about {share} of the squared distance to match"
    if settings.outer == "normalized":
        return ""
    state = problem.begin(images, coverage.student_lr)
    gradient = float(problem.gradients(state, problem.draw(state, 0)).learned[STUDENT_LR])
    change = settings.lr_lr * gradient * config.distill.syn_steps / steps
    if abs(change) < coverage.student_lr:  # a leap upwards comes back below zero in the next iteration
        return ""
    most = settings.lr_lr * coverage.student_lr / abs(change)
    return (
        f"distill.lr_lr = {settings.lr_lr:.2g}: alpha = {coverage.student_lr:.2g} would become about "
        f"{coverage.student_lr - change:.2g} in one iteration; at most about {most / 10:.1g} can work, "
        "or distill.outer = normalized"
    )


def _images(config: Config, data: RealData) -> tuple[Tensor, Tensor]:
    """Return random real images in place of chosen ones, which would need an expert."""
    init: Literal["noise", "random-real"] = "noise" if config.distill.init == "noise" else "random-real"
    return initial_images(
        init, data.train_images, data.train_labels, data.classes, config.distill.ipc, seed=config.seed
    )
