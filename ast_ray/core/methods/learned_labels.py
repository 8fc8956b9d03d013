"""Learned label distributions, as FRePo begins and holds them (arXiv 2206.00719)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def centred(labels: Tensor, classes: int) -> Tensor:
    """Return one-hot rows minus 1/K [n, K] in float64 for labels int64 [n]: the targets of real images."""
    return F.one_hot(labels, classes).double() - 1 / classes


def initial_targets(labels: Tensor, classes: int) -> Tensor:
    """Return Y [S, K] before the first update, in float64: `centred` rows divided by sqrt(K / 10).

    >>> import torch
    >>> [round(value, 6) for value in initial_targets(torch.tensor([1]), 10)[0, :2].tolist()]
    [-0.1, 0.9]
    """
    return centred(labels, classes) / math.sqrt(classes / 10)


def margin(targets: Tensor) -> Tensor:
    """Return mean_j min(Y_j(1) - Y_j(2), 1/K) of targets [S, K]: what keeps labels from becoming ambiguous.

    Y_j(1) and Y_j(2) are the largest and second entries of a row. The term pulls no more once a margin is 1/K.
    """
    largest = targets.topk(2, dim=1).values
    return (largest[:, 0] - largest[:, 1]).clamp(max=1 / targets.shape[1]).mean()
