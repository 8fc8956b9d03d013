"""Every preset builds its network at full size and takes two expert steps and two distillation iterations.

On stand-ins of the right shape and number of classes. To fit a test, the steps are taken with batches of two, one
synthetic image per class, as few student steps as the matching points need, and a width of 16 (full width once per
dataset). A real epoch has hundreds of steps where this one has one, so the experts' moves are lengthened to match: the
presets' learning rates belong to segments of that length.
"""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from ast_ray.config import Config, check
from ast_ray.config.methods import matched_methods
from ast_ray.config.presets import PRESETS, facts_of_preset, preset
from ast_ray.core.experts.training import train_expert
from ast_ray.core.methods.coverage import probe
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.networks import build
from ast_ray.core.rng import stream

FULL_WIDTH = ("digits", "cifar10-cpu", "cifar10-ipc1", "cifar100-ipc1", "tiny-ipc1", "nette-ipc1")
STEPS_PER_EPOCH = 50


class OneExpert:
    """A trajectory in memory."""

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights = weights

    def __len__(self) -> int:
        return 1

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        return self.weights[start_epoch : start_epoch + length + 1]


def small(config: Config, *, width: int, batch: int) -> Config:
    """The preset with two expert steps (one per matched epoch) and the fewest student steps."""
    epochs = config.distill.expert_epochs
    expert = dataclasses.replace(config.expert, epochs=epochs, batch_size=2)
    distill = dataclasses.replace(
        config.distill, ipc=1, syn_steps=epochs, max_start_epoch=1, batch_size=batch, init_clusters=0
    )
    network = dataclasses.replace(config.network, width=width)
    return check(dataclasses.replace(config, expert=expert, distill=distill, network=network))


@pytest.mark.parametrize("name", [name for name in PRESETS if matched_methods(preset(name))])
def test_a_preset_trains_and_distils(name: str):
    whole = preset(name)
    facts = facts_of_preset(whole)
    shape = (facts.channels, facts.image_size, facts.image_size)
    build(whole.network, shape, facts.classes, stream(0, "full"))
    full = name in FULL_WIDTH
    config = small(whole, width=whole.network.width if full else 16, batch=1 if full else 2)

    images = torch.randn(2, *shape, generator=stream(0, "real", name))
    labels = torch.tensor([0, facts.classes - 1])
    network = build(config.network, shape, facts.classes, stream(0, "init"))
    records = list(train_expert(network, images, labels, config.expert, seed=0, expert_id=0))
    weights = [record.theta for record in records]
    assert len(weights) >= 3
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(weights))

    weights = [weights[0] + STEPS_PER_EPOCH * (theta - weights[0]) for theta in weights]

    start = torch.randn(facts.classes, *shape, generator=stream(0, "synthetic"))
    problem = TrajectoryMatching(network, torch.arange(facts.classes), OneExpert(weights), config.distill, 0)
    alpha = config.distill.student_lr or probe(problem, start).student_lr
    state = problem.begin(start, alpha)
    for _ in range(2):
        state, report = iterate(problem, state)
        assert report.loss > 0
    assert state.iteration == 2
    assert torch.isfinite(state.images).all()
    assert not torch.equal(state.images, start)
    assert float(state.student_lr) > 0
