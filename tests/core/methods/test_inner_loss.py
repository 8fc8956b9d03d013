"""nu(t) worked out by hand: middle = T+/2, vartheta = 8."""

from __future__ import annotations

import pytest

from ast_ray.core.methods.ast import balance

LN_8, LN_10, LN_18 = 2.0794415416798357, 2.302585092994046, 2.8903717578961645


@pytest.mark.parametrize(
    ("start_epoch", "expected"),
    [(10, LN_8), (12, LN_10), (20, LN_18), (8, 1 / LN_10), (0, 1 / LN_18)],
)
def test_at_above_and_below_the_middle_of_twenty(start_epoch, expected):
    assert balance(start_epoch, 20) == pytest.approx(expected, rel=1e-14)


def test_an_odd_maximum_has_its_middle_between_epochs():
    assert balance(3, 5) == pytest.approx(2.1400661634962708)  # ln 8.5
    assert balance(2, 5) == pytest.approx(1 / 2.1400661634962708)


def test_base_five_and_another_offset():
    assert balance(10, 20, log_base=5) == pytest.approx(LN_8 / 1.6094379124341003)
    assert balance(8, 20, log_base=5) == pytest.approx(1.6094379124341003 / LN_10)
    assert balance(11, 20, vartheta=9) == pytest.approx(LN_10)


def test_late_starts_weigh_more_and_early_ones_less():
    values = [balance(t, 20) for t in range(20)]
    assert all(value < 1 for value in values[:10])
    assert all(value > 2 for value in values[10:])
    assert values[10:] == sorted(values[10:])
    assert values[:10] == sorted(values[:10])
