"""Herding, k-centre and forgetting on points small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ast_ray.core.selection import (
    coreset_rows,
    correct_predictions,
    forgetting_events,
    forgotten_rows,
    herding_rows,
    k_centre_rows,
)
from ast_ray.errors import DataError

LINE = np.array([[0.0], [1.0], [2.0], [10.0]])  # mean 3.25


def test_herding_keeps_the_running_mean_at_the_mean():
    # 2 is nearest to 3.25; then (2 + x) / 2 is 1, 1.5, 6: 1.5 is nearest; then (3 + x) / 3 is 1 or 4.33: 4.33.
    assert herding_rows(LINE, 3) == [2, 1, 3]
    assert herding_rows(LINE, 4) == [2, 1, 3, 0]


def test_k_centre_goes_to_the_farthest():
    # 2 is nearest to the mean; 10 is 8 away; then 0 is 2 away from 2.
    assert k_centre_rows(LINE, 3) == [2, 3, 0]
    assert sorted(k_centre_rows(LINE, 4)) == [0, 1, 2, 3]


def test_equal_points_are_not_chosen_twice():
    same = np.ones((3, 2))
    assert herding_rows(same, 3) == [0, 1, 2]
    assert sorted(k_centre_rows(same, 3)) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["herding", "k-centre"])
def test_rows_come_class_by_class(kind, make_network, make_images):
    images, labels = make_images(per_class=5)
    order = torch.tensor([14, 3, 7, 0, 10, 5, 1, 12, 9, 2, 13, 4, 11, 8, 6])
    rows = coreset_rows(kind, images[order], labels[order], 3, 2, make_network())
    assert labels[order][rows].tolist() == [0, 0, 1, 1, 2, 2]
    assert len(set(rows.tolist())) == 6


def test_too_few_images(make_network, make_images):
    images, labels = make_images(per_class=2)
    with pytest.raises(DataError, match="class 0 has 2 training images, ipc = 3"):
        coreset_rows("herding", images, labels, 3, 3, make_network())


def test_forgetting_counts_right_then_wrong():
    history = [[1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 1, 1]]
    events = forgetting_events(torch.tensor(row, dtype=torch.bool) for row in history)
    assert events.tolist() == [2, float("inf"), 1, 0]
    with pytest.raises(ValueError, match="at least one epoch"):
        forgetting_events([])


def test_the_most_forgotten_of_each_class_are_chosen():
    events = torch.tensor([0.0, 3.0, 3.0, float("inf"), 1.0, 1.0])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert forgotten_rows(events, labels, 2, 2).tolist() == [1, 2, 3, 4]
    with pytest.raises(DataError, match="class 0 has 3 training images, ipc = 4"):
        forgotten_rows(events, labels, 2, 4)


def test_answers_are_compared_with_the_labels(make_network, make_images):
    images, _ = make_images(per_class=3)
    network = make_network()
    right = network(images).argmax(1)
    labels = right.clone()
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 3
    answers = correct_predictions(network, images, labels, batch_size=4)
    assert answers.tolist() == [row not in (1, 4) for row in range(9)]
