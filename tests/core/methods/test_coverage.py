"""The probe: hand values on straight experts, alpha as long as the way, what is hopeless."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.bilevel.student import Student, plan_steps, run_student
from ast_ray.core.methods.coverage import probe
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream
from ast_ray.errors import StoreError

CONFIG = DistillConfig(
    syn_steps=6, expert_epochs=2, max_start_epoch=1, rho=0.0, balanced_inner_loss=False, augmentation="none"
)


class Followed:
    """An expert that goes where a student of the given alpha goes: M epochs of N/M steps each."""

    def __init__(self, network, images: Tensor, labels: Tensor, alpha: float, config: DistillConfig = CONFIG) -> None:
        spec = FlatSpec.of(network)
        student = Student(network, spec, labels, 1.0, config.student_momentum)
        size = (images.shape[2], images.shape[3])
        steps = plan_steps(config, labels, size, network.classifier.in_features, stream(0))
        run = run_student(student, flatten(network), images, torch.tensor(alpha, dtype=images.dtype), steps)
        self.points = [run.weights[0], run.weights[3], run.weights[6]]

    def __len__(self) -> int:
        return 1

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        return self.points[start_epoch : start_epoch + length + 1]


@pytest.fixture
def opened(make_network, make_images):
    """(problem, images) whose expert is a student of alpha 0.02 on these very images."""

    def build(config: DistillConfig = CONFIG, alpha: float = 0.02) -> tuple[TrajectoryMatching, Tensor]:
        network, (images, labels) = make_network(), make_images()
        return TrajectoryMatching(network, labels, Followed(network, images, labels, alpha, config), config, 0), images

    return build


def test_an_expert_that_is_a_student_is_found_again(opened):
    problem, images = opened()
    found = probe(problem, images)
    assert found.walk_lr == pytest.approx(0.02, rel=0.1)
    assert found.student_lr == found.suggested_lr <= found.walk_lr
    assert found.loss < 0.05
    assert found.best_loss <= found.loss
    assert found.perturbed == 0
    assert found.reach <= 1
    given = probe(problem, images, 0.02)
    assert (given.student_lr, given.suggested_lr) == (0.02, found.suggested_lr)
    assert given.loss == pytest.approx(0, abs=1e-20)


def test_momentum_and_steps_are_counted(opened):
    with_momentum = dataclasses.replace(CONFIG, student_momentum=0.5)
    problem, images = opened(with_momentum, alpha=0.01)
    distance = float((problem.experts.points[2] - problem.experts.points[0]).norm())
    plain = dataclasses.replace(problem, config=CONFIG)
    assert probe(problem, images).distance == pytest.approx(distance)
    assert probe(problem, images).walk_lr == pytest.approx(probe(plain, images).walk_lr / 2)


def test_alpha_starts_where_the_loss_is_smallest_and_never_beyond_the_walk(opened):
    """Images that lead elsewhere make a shorter walk the better one."""
    problem, images = opened()
    strangers = problem, images.flip(0)
    found = probe(*strangers)
    assert found.suggested_lr < found.walk_lr
    assert found.loss == found.best_loss
    for factor in (0.5, 2.0):
        assert probe(*strangers, found.suggested_lr * factor).loss >= found.loss


def test_a_given_alpha_is_judged(opened):
    problem, images = opened()
    small, large = probe(problem, images, 0.02 / 1000), probe(problem, images, 1e9)
    assert small.loss == pytest.approx(1, abs=0.01)
    assert small.reach < 0.01
    assert large.loss > 1e3 or large.loss == math.inf
    assert small.best_loss == large.best_loss < 0.05


def test_a_perturbation_that_drowns_the_match_is_seen(opened):
    problem, images = opened(dataclasses.replace(CONFIG, rho=3.0))
    found = probe(problem, images)
    assert found.perturbed > 0.9
    assert found.best_loss > 0.9


def test_the_probe_changes_nothing_and_repeats_itself(opened):
    problem, images = opened()
    before = images.clone()
    assert probe(problem, images) == probe(problem, images)
    assert torch.equal(images, before)


def test_an_expert_that_stands_still_is_an_error(opened):
    problem, images = opened()
    problem.experts.points = problem.experts.points[:1] * 3
    with pytest.raises(StoreError, match="zero denominator"):
        probe(problem, images)
