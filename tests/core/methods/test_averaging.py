"""The moving average of the images by hand, and when it is published."""

from __future__ import annotations

import pytest
import torch

from ast_ray.core.methods.averaging import begin_average, publishes_average, start_weight, updated_average
from ast_ray.core.rng import stream


def test_by_hand():
    average = begin_average(torch.zeros(1, dtype=torch.float64))
    found = []
    for image in (0.0, 1.0, 1.0):
        average = updated_average(average, torch.full((1,), image, dtype=torch.float64), 0.9)
        found.append(float(average))
    assert found == pytest.approx([0.0, 0.1, 0.19], rel=1e-12)


def test_it_begins_at_the_images_and_shares_no_memory_with_them():
    images = torch.rand(2, 3, 4, 4, generator=stream(0, "test"))
    average = begin_average(images)
    before = images.clone()
    assert torch.equal(average, images)
    images += 1
    assert torch.equal(average, before)
    updated_average(average, images, 0.5)
    assert torch.equal(average, before)


def test_without_decay_it_is_the_images():
    noise = stream(1, "test")
    average, images = (torch.randn(2, 3, 4, 4, generator=noise) for _ in range(2))
    assert torch.equal(updated_average(average, images, 0.0), images)


def test_what_remains_of_the_start_is_its_weight():
    start = torch.full((1,), 3.0, dtype=torch.float64)
    average = begin_average(start)
    for _ in range(40):
        average = updated_average(average, torch.zeros_like(start), 0.95)
    assert float(average) == pytest.approx(3.0 * start_weight(0.95, 40), rel=1e-12)
    assert start_weight(0.95, 40) == pytest.approx(0.1285, abs=1e-4)


@pytest.mark.parametrize(
    ("decay", "iterations", "published"),
    [
        (0.9999, 5000, False),  # 0.61: FTD's cell CIFAR-10 ipc 1
        (0.9995, 5000, True),
        (0.999, 5000, True),
        (0.9999, 25_000, True),
        (0.99, 229, False),  # 0.1001
        (0.99, 230, True),  # 0.0991
        (0.99, 0, False),
        (0.0, 5000, False),
        (0.0, 0, False),
    ],
)
def test_an_average_that_is_mostly_its_start_is_not_published(decay, iterations, published):
    assert publishes_average(decay, iterations) is published
