"""Importance of the hyperparameters: a random forest from settings to accuracy, and permutation importance on it.

The forest sees numbers as they are (on a log scale where they span decades), choices as one-hot
columns that are permuted together. With few trials the figures are a hint; the spread over repeats is given for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor

LEAST_TRIALS = 5
_REPEATS, _TREES = 30, 200


@dataclass(frozen=True)
class Importance:
    """Mean rise of the squared error when a hyperparameter is shuffled, relative to the objective's variance."""

    name: str
    mean: float
    std: float


def importance(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], objective: str, *, seed: int
) -> list[Importance]:
    """Importance of each searched name, largest first; empty with too few trials or an objective that never varies."""
    varying = [name for name in names if len({str(row[name]) for row in rows}) > 1]
    target = np.array([row[objective] for row in rows], dtype=float)
    if len(rows) < LEAST_TRIALS or not varying or float(target.std()) == 0.0:
        return []
    blocks = [encode([row[name] for row in rows]) for name in varying]
    ends = np.cumsum([block.shape[1] for block in blocks])
    features = np.concatenate(blocks, axis=1)
    forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=seed % 2**32).fit(features, target)
    base = float(((forest.predict(features) - target) ** 2).mean())
    generator = np.random.default_rng(seed)
    found = []
    for name, end, block in zip(varying, ends, blocks, strict=True):
        rises = []
        for _ in range(_REPEATS):
            shuffled = features.copy()
            columns = slice(end - block.shape[1], end)
            shuffled[:, columns] = features[generator.permutation(len(features)), columns]
            rises.append(float(((forest.predict(shuffled) - target) ** 2).mean()) - base)
        relative = np.array(rises) / float(target.var())
        found.append(Importance(name, max(0.0, float(relative.mean())), float(relative.std())))
    return sorted(found, key=lambda item: -item.mean)


def encode(values: Sequence[object]) -> np.ndarray:
    """A hyperparameter as columns: numbers as one (its logarithm when it spans a decade), anything else one-hot."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, dtype=float)
        if spans_decade(values):
            numbers = np.log10(numbers)
        return numbers[:, None]
    kinds = sorted({str(value) for value in values})
    return np.array([[float(str(value) == kind) for kind in kinds] for value in values])


def spans_decade(values: Sequence[object]) -> bool:
    """Return whether positive numbers cover a factor of ten or more."""
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return bool(numbers) and min(numbers) > 0 and math.log10(max(numbers) / min(numbers)) >= 1
