"""Welch's interval against values worked out by hand and against scipy's own test."""

from __future__ import annotations

import pytest
from scipy import stats

from ast_ray.core.statistics import half_width, welch


def test_three_values_on_each_side_by_hand() -> None:
    """Variances 1 and 1, so SE = sqrt(2/3), 4 degrees of freedom, t = 2.776445."""
    found = welch([5.0, 6.0, 7.0], [1.0, 2.0, 3.0])
    assert found.mean == 4.0
    assert found.low == pytest.approx(4 - 2.776445 * (2 / 3) ** 0.5, abs=1e-5)
    assert found.high == pytest.approx(4 + 2.776445 * (2 / 3) ** 0.5, abs=1e-5)
    assert found.sign == 1
    assert welch([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]).sign == -1


def test_unequal_variances_and_numbers_by_hand() -> None:
    """Variances 2 (n 2) and 16 (n 3): shares 1 and 16/3, degrees (19/3)^2 / (1 + (16/3)^2 / 2) = 2.6350."""
    found = welch([2.0, 4.0], [1.0, 5.0, 9.0])
    assert found.mean == -2.0
    degrees = (19 / 3) ** 2 / (1 + (16 / 3) ** 2 / 2)
    assert degrees == pytest.approx(2.6350, abs=1e-4)
    assert found.high == pytest.approx(-2 + half_width((19 / 3) ** 0.5, degrees))
    expected = stats.ttest_ind([2.0, 4.0], [1.0, 5.0, 9.0], equal_var=False).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.sign == 0


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423)])
def test_quantiles_of_the_printed_table(degrees: float, quantile: float) -> None:
    assert half_width(1.0, degrees) == pytest.approx(quantile, abs=1e-4)
    assert half_width(2.0, degrees) == pytest.approx(2 * quantile, abs=1e-4)


def test_a_single_value_has_no_interval() -> None:
    found = welch([0.7], [0.5, 0.6])
    assert (round(found.mean, 3), found.low, found.high, found.sign) == (0.15, None, None, 0)


def test_values_without_spread() -> None:
    found = welch([0.25, 0.25], [0.5, 0.5])
    assert (found.mean, found.low, found.high, found.sign) == (-0.25, -0.25, -0.25, -1)
    assert welch([0.5, 0.5], [0.5, 0.5]).sign == 0
