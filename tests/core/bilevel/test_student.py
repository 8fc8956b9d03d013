"""The plan of the student's steps, and the steps against torch.optim.SGD."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ast_ray.config.settings import DSA_ALL, DistillConfig
from ast_ray.core.augmentation import apply
from ast_ray.core.bilevel.student import Student, StudentStep, plan_steps, run_student
from ast_ray.core.parameters import FlatSpec, flatten, load
from ast_ray.core.rng import stream

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def _plan(number: int = 1, features: int = 7, **options: object) -> list[StudentStep]:
    config = DistillConfig(**{"augmentation": "none", "syn_steps": 6, **options})
    return plan_steps(config, LABELS, (8, 8), features, stream(0, "distill", number, "student"))


def test_batches_cycle_through_permutations_without_replacement():
    rows = [step.rows.tolist() for step in _plan(batch_size=4, syn_steps=7)]
    assert [len(batch) for batch in rows] == [4, 2, 4, 2, 4, 2, 4]
    passes = [rows[0] + rows[1], rows[2] + rows[3], rows[4] + rows[5]]
    assert all(sorted(order) == list(range(6)) for order in passes)
    assert len({tuple(order) for order in passes}) == 3


@pytest.mark.parametrize("batch_size", [0, 6, 100])
def test_the_whole_set_needs_no_rows(batch_size):
    assert [step.rows for step in _plan(batch_size=batch_size)] == [None] * 6


def _values(plan: list[StudentStep]) -> list[object]:
    return [
        (
            step.rows.tolist(),
            step.augmentation.operation,
            [value.tolist() for value in step.augmentation.values],
            step.feature_mask.tolist(),
        )
        for step in plan
    ]


def test_the_same_counters_give_the_same_plan():
    options = {"batch_size": 4, "augmentation": DSA_ALL, "dropout": 0.5}
    assert _values(_plan(1, **options)) == _values(_plan(1, **options))
    assert _values(_plan(1, **options)) != _values(_plan(2, **options))


def test_every_step_draws_its_own_augmentation_of_its_own_size():
    plan = _plan(batch_size=4, syn_steps=12, augmentation="rotate")
    assert [len(step.augmentation.values[0]) for step in plan] == [4, 2] * 6
    angles = torch.cat([step.augmentation.values[0] for step in plan])
    assert len(set(angles.tolist())) == len(angles)
    shared = _plan(syn_steps=4, augmentation="rotate", siamese=True)
    assert [len(set(step.augmentation.values[0].tolist())) for step in shared] == [1] * 4
    assert {step.augmentation.operation for step in _plan(syn_steps=60, augmentation=DSA_ALL)} == set(
        DSA_ALL.split("_")
    )


def test_dropout_masks_keep_their_mean():
    assert _plan()[0].feature_mask is None
    masks = torch.stack([step.feature_mask for step in _plan(features=400, dropout=0.2)])
    assert masks.shape == (6, 6, 400)
    assert set(masks.unique().tolist()) == {0.0, 1.25}
    assert float((masks == 0).float().mean()) == pytest.approx(0.2, abs=0.015)
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_equal_torch_sgd_on_the_scaled_loss(make_network, make_images, momentum):
    network, (images, labels) = make_network(), make_images()
    spec, start = FlatSpec.of(network), flatten(network)
    student = Student(network, spec, labels, nu=1.7, momentum=momentum)
    plan = _plan(batch_size=4, syn_steps=5, augmentation=DSA_ALL, dropout=0.3, features=network.classifier.in_features)
    run = run_student(student, start, images, torch.tensor(0.05).double(), plan)
    weights, velocities = run.weights, run.velocities
    assert len(weights) == 6
    assert len(velocities) == (5 if momentum else 0)
    assert torch.equal(weights[0], start)

    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=momentum)
    for step, theta in zip(plan, weights[1:], strict=True):
        optimizer.zero_grad()
        logits = network(apply(images[step.rows], step.augmentation), step.feature_mask)
        (1.7 * F.cross_entropy(logits, labels[step.rows])).backward()
        optimizer.step()
        assert torch.allclose(theta, flatten(network), rtol=1e-6, atol=1e-9)  # alpha is 0.05 in float32
    assert not any(theta.requires_grad for theta in weights + velocities)
    load(network, spec, start)


def test_steps_move_by_alpha_times_velocity(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    student = Student(network, FlatSpec.of(network), labels, momentum=0.5)
    alpha = torch.tensor(0.1, dtype=torch.float64)
    run = run_student(student, flatten(network), images, alpha, _plan(syn_steps=3))
    weights, velocities = run.weights, run.velocities
    for before, after, velocity in zip(weights, weights[1:], velocities, strict=False):
        assert torch.allclose(after, before - alpha * velocity, rtol=1e-14)


def test_loss_is_the_mean_cross_entropy_times_nu(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    theta = flatten(network)
    rows = torch.tensor([4, 1])
    step = StudentStep(rows, _plan()[0].augmentation)
    student = Student(network, FlatSpec.of(network), labels, nu=3.0)
    probability = network(images[rows]).softmax(1).detach()
    expected = -3.0 * (probability[0, 2].log() + probability[1, 0].log()) / 2
    value = student.loss(theta, student.batch(images, step), step)
    assert float(value) == pytest.approx(float(expected))
