"""Differences between means with 95 % confidence intervals (Student's t)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference of means with its interval; ``low`` and ``high`` are None where there are too few values for one."""

    mean: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies on one side of 0, else 0."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0
        return 1 if self.mean > 0 else -1


def half_width(standard_error: float, degrees: float) -> float:
    """Half the interval of a mean: its standard error times Student's t quantile for ``degrees`` of freedom.

    >>> round(half_width(1.0, 4), 3)
    2.776
    """
    from scipy.special import stdtrit  # loaded when an interval is asked for: it takes a while

    return float(stdtrit(degrees, (1 + LEVEL) / 2)) * standard_error


def welch(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Mean of ours minus mean of theirs with Welch's interval: independent samples, each with a variance of its own.

    There is no interval when either sample has a single value. Two samples without any spread have one of width 0.

    >>> found = welch([5.0, 6.0, 7.0], [1.0, 2.0, 3.0])  # SE sqrt(2/3), 4 degrees of freedom
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (4.0, 1.733, 6.267)
    """
    mean = statistics.fmean(ours) - statistics.fmean(theirs)
    if min(len(ours), len(theirs)) < 2:
        return Difference(mean, None, None)
    shares = [statistics.variance(values) / len(values) for values in (ours, theirs)]
    variance = sum(shares)
    if variance == 0:
        return Difference(mean, mean, mean)
    pairs = zip(shares, (ours, theirs), strict=True)
    degrees = variance**2 / sum(share**2 / (len(values) - 1) for share, values in pairs)
    half = half_width(variance**0.5, degrees)
    return Difference(mean, mean - half, mean + half)
