"""Watched accuracies: CAFE ends a network's life, and the training within it, by a queue of ten of them.

A life ends when ten accuracies in a row differ by less than lambda_1: the set teaches this network nothing new. Between
two updates of the set the network is trained until ten in a row differ by more than lambda_2. (Wang et al., CVPR 2022.)
"""

from __future__ import annotations

import math
from typing import Literal

LENGTH = 10
"""Accuracies in a full queue; one that is not full ends nothing."""


def pushed(values: tuple[float, ...], value: float) -> tuple[float, ...]:
    """Append a value to the queue; a full one loses its oldest.

    Raises:
        ValueError: the value is not finite, and would hide every change.
    """
    if not math.isfinite(value):
        raise ValueError(f"a watched value must be finite, got {value}")
    return (*values[-(LENGTH - 1) :], value)


def settled(values: tuple[float, ...], spread: float) -> bool:
    """Return whether the queue is full and its values differ by less than ``spread`` (lambda_1)."""
    return len(values) == LENGTH and max(values) - min(values) < spread


def moved(values: tuple[float, ...], spread: float) -> bool:
    """Return whether the queue is full and its values differ by more than ``spread`` (lambda_2)."""
    return len(values) == LENGTH and max(values) - min(values) > spread


def training_end(
    values: tuple[float, ...], epochs: int, *, spread: float, limit: int
) -> Literal["moved", "limit"] | None:
    """Return why training ends after ``epochs`` epochs, or None where it goes on.

    ``limit`` is the largest number of epochs: a network that has converged never moves by ``spread``.
    """
    if moved(values, spread):
        return "moved"
    return "limit" if epochs >= limit else None
