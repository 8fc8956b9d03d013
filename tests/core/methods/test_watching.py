"""CAFE's queues: the truth table of what ends a life and a training."""

from __future__ import annotations

import pytest

from ast_ray.core.methods.watching import moved, pushed, settled, training_end

LAMBDA_1, LAMBDA_2 = 0.04, 0.03


def _queue(spread: float, count: int = 10) -> tuple[float, ...]:
    """Values within 0.5 .. 0.5 + spread, neither end of the queue being an extreme."""
    return (0.5 + spread / 2, 0.5, 0.5 + spread, *[0.5 + spread / 2] * (count - 3))


@pytest.mark.parametrize(
    ("spread", "count", "ends"),
    [(0.039, 10, True), (0.041, 10, False), (0.0, 10, True), (0.039, 9, False), (0.0, 9, False)],
)
def test_a_life_ends_when_ten_accuracies_are_close(spread, count, ends):
    assert settled(_queue(spread, count), LAMBDA_1) is ends


@pytest.mark.parametrize(
    ("spread", "count", "ends"),
    [(0.031, 10, True), (0.029, 10, False), (0.9, 10, True), (0.031, 9, False), (0.9, 9, False)],
)
def test_a_training_ends_when_ten_accuracies_are_apart(spread, count, ends):
    assert moved(_queue(spread, count), LAMBDA_2) is ends


def test_a_spread_of_exactly_lambda_ends_neither():
    assert not settled(_queue(0.25), 0.25)
    assert not moved(_queue(0.25), 0.25)


@pytest.mark.parametrize(
    ("spread", "epochs", "why"),
    [
        (0.029, 99, None),
        (0.029, 100, "limit"),
        (0.029, 101, "limit"),
        (0.031, 10, "moved"),
        (0.031, 100, "moved"),
    ],
)
def test_a_training_ends_at_the_limit_too(spread, epochs, why):
    assert training_end(_queue(spread), epochs, spread=LAMBDA_2, limit=100) == why


def test_a_limit_below_ten_epochs_holds():
    assert training_end((0.1, 0.9), 2, spread=LAMBDA_2, limit=3) is None
    assert training_end((0.1, 0.9, 0.1), 3, spread=LAMBDA_2, limit=3) == "limit"


def test_a_full_queue_loses_its_oldest():
    values: tuple[float, ...] = ()
    for number in range(10):
        values = pushed(values, float(number))
        assert values == tuple(float(n) for n in range(number + 1))
    assert pushed(values, 10.0) == tuple(float(n) for n in range(1, 11))


def test_the_oldest_value_stops_counting():
    values: tuple[float, ...] = ()
    lengths = []
    for accuracy in [0.1, *[0.5] * 10]:
        values = pushed(values, accuracy)
        lengths.append((settled(values, LAMBDA_1), moved(values, LAMBDA_2)))
    assert lengths == [(False, False)] * 9 + [(False, True), (True, False)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="finite"):
        pushed((0.5,), value)
