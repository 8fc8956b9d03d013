"""Random choices of a segment: which start epochs can be drawn."""

from __future__ import annotations

import pytest

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.segment_draws import draw_start_epoch
from ast_ray.core.rng import stream


def test_start_epochs_lie_below_the_maximum():
    config = DistillConfig(max_start_epoch=4)
    draws = [draw_start_epoch(config, 3, stream(number)) for number in range(400)]
    assert sorted(set(draws)) == [0, 1, 2, 3]
    assert min(draws.count(epoch) for epoch in range(4)) > 70


@pytest.mark.parametrize(
    ("last", "expected"), [(10, range(5, 16)), (2, range(8)), (18, range(13, 20)), (-1, range(20))]
)
def test_start_epochs_within_a_window_of_the_last_one(last, expected):
    config = DistillConfig(max_start_epoch=20, start_epoch_window=5)
    assert sorted({draw_start_epoch(config, last, stream(number)) for number in range(600)}) == list(expected)
