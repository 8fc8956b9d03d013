"""Means, deviations and paired differences with 95 % intervals (Student's t)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ast_ray.core import statistics as intervals

_FEW = 5


@dataclass(frozen=True)
class Mean:
    """A mean with its sample standard deviation (None for one value) and count."""

    mean: float
    std: float | None
    n: int

    def text(self, digits: int = 1) -> str:
        """``26.3 ± 0.9``."""
        spread = "" if self.std is None else f" ± {self.std:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Difference(intervals.Difference):
    """Mean of paired differences with its interval; low and high are None for fewer than two pairs."""

    n: int

    def text(self) -> str:
        """``+1.2 [+0.3, +2.1]``, with the number of pairs where it is below 5."""
        if self.low is None or self.high is None:
            return f"{self.mean:+.1f} (one pair)"
        few = f", {self.n} pairs" if self.n < _FEW else ""
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]{few}"


def summary(values: Sequence[float]) -> Mean:
    """Mean and sample standard deviation of at least one value.

    >>> summary([1.0, 2.0, 3.0]).text()
    '2.0 ± 1.0'
    """
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Mean of ours - theirs over the seeds both have, with the t interval of that mean; None without a common seed.

    >>> paired({0: 3.0, 1: 5.0, 2: 4.0}, {0: 1.0, 1: 3.0, 2: 3.0}).text()
    '+1.7 [+0.2, +3.1], 3 pairs'
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    gaps = [ours[seed] - theirs[seed] for seed in seeds]
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        return Difference(mean, None, None, 1)
    half = intervals.half_width(statistics.stdev(gaps) / len(gaps) ** 0.5, len(gaps) - 1)
    return Difference(mean, mean - half, mean + half, len(gaps))
