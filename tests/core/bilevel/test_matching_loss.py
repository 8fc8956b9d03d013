"""Matching points xi_i, weights beta_i and the loss of Eq. 22, by hand."""

from __future__ import annotations

import pytest
import torch

from ast_ray.core.bilevel.matching_loss import MatchingPoint, Target, matching_points, targets_of
from ast_ray.errors import StoreError


@pytest.mark.parametrize(
    ("steps", "epochs", "strategy", "expected"),
    [
        (10, 2, "equal", [(5, 1, 1.0), (10, 2, 1.0)]),
        (7, 3, "equal", [(2, 1, 1.0), (4, 2, 1.0), (7, 3, 1.0)]),
        (7, 3, "scaled", [(2, 1, 2 / 7), (4, 2, 4 / 7), (7, 3, 1.0)]),
        (7, 3, "final", [(7, 3, 1.0)]),
        (5, 1, "scaled", [(5, 1, 1.0)]),
        (3, 3, "equal", [(1, 1, 1.0), (2, 2, 1.0), (3, 3, 1.0)]),
        (2, 3, "final", [(2, 3, 1.0)]),  # MTT may take fewer steps than epochs
    ],
)
def test_points(steps, epochs, strategy, expected):
    assert matching_points(steps, epochs, strategy) == tuple(MatchingPoint(*values) for values in expected)


def test_points_of_many_shapes_are_distinct_and_end_at_n():
    for steps in range(1, 40):
        for epochs in range(1, steps + 1):
            places = [point.step for point in matching_points(steps, epochs, "equal")]
            assert places == sorted(set(places))
            assert (len(places), places[-1]) == (epochs, steps)
            assert places[0] >= 1


START = torch.tensor([0.0, 0.0, 1.0])
SEGMENT = [torch.zeros(3), torch.tensor([2.0, 0.0, 1.0]), torch.tensor([0.0, 3.0, 5.0])]


def test_targets_measure_from_the_perturbed_start():
    targets = targets_of(START, SEGMENT, matching_points(4, 2, "scaled"), expert_id=0, start_epoch=0)
    assert sorted(targets) == [2, 4]
    assert torch.equal(targets[2].theta, SEGMENT[1])
    assert torch.equal(targets[4].theta, SEGMENT[2])
    assert targets[2].inverse_distance == pytest.approx(1 / 4)
    assert targets[4].inverse_distance == pytest.approx(1 / 25)
    student = torch.tensor([1.0, 1.0, 1.0])
    assert float(targets[2].loss(student)) == pytest.approx(0.5 * (1 + 1) / 4)
    assert float(targets[4].loss(student)) == pytest.approx((1 + 4 + 16) / 25)


def test_the_loss_is_beta_before_the_first_step():
    for target in targets_of(START, SEGMENT, matching_points(4, 2, "scaled"), expert_id=0, start_epoch=0).values():
        assert float(target.loss(START)) == pytest.approx(target.beta)


def test_gradient_of_a_target_is_the_derivative_of_its_loss():
    target = Target(torch.tensor([1.0, -2.0]), 0.5, 0.25)
    student = torch.tensor([3.0, 1.0], requires_grad=True)
    assert target.gradient(student.detach()).tolist() == [0.5, 0.75]  # 2 * 0.5 * 0.25 * (2, 3)
    (automatic,) = torch.autograd.grad(target.loss(student), student)
    assert automatic.tolist() == [0.5, 0.75]


def test_an_expert_that_stands_still_is_named():
    segment = [START, torch.ones(3), START]
    with pytest.raises(StoreError, match=r"expert 12 does not move between epochs 5 and 7: .*zero denominator"):
        targets_of(START, segment, matching_points(4, 2, "equal"), expert_id=12, start_epoch=5)
    only_end = targets_of(
        START, [START, START, torch.ones(3)], matching_points(4, 2, "final"), expert_id=0, start_epoch=0
    )
    assert list(only_end) == [4]
