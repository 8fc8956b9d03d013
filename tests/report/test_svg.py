from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from ast_ray.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Plot, Series, chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.13, 0.87, [0.2, 0.4, 0.6, 0.8]),
        (-3.0, 3.0, [-2.0, 0.0, 2.0]),
        (0.0, 5000.0, [0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_log_ticks_are_powers_or_finer_when_the_range_is_short() -> None:
    assert ticks(0.003, 2.0, log=True) == [0.01, 0.1, 1.0]
    assert ticks(0.08, 0.6, log=True) == [0.1, 0.2, 0.5]


def test_a_point_lands_where_its_value_says() -> None:
    series = [Series("a", 0, [(0.0, 0.0), (10.0, 1.0)])]
    plot = Plot(series, Axis("x", low=0.0, high=10.0), Axis("y", low=0.0, high=1.0))
    x, y = plot.place(2.5, 0.5)
    assert x == pytest.approx(LEFT + 0.25 * (WIDTH - LEFT - RIGHT))
    assert y == pytest.approx((HEIGHT - BOTTOM + TOP) / 2)


def test_on_a_log_axis_equal_ratios_are_equal_distances() -> None:
    plot = Plot([Series("a", 0, [(1.0, 0.01), (2.0, 100.0)])], Axis("x"), Axis("y", log=True))
    heights = [plot.place(1.0, value)[1] for value in (0.01, 1.0, 100.0)]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2])


def test_what_a_log_axis_cannot_show_is_left_out() -> None:
    points = [(0.0, 0.0), (1.0, float("nan")), (2.0, 3.0), (3.0, 4.0)]
    drawing = chart("k", "t", "d", [Series("a", 0, points, marked=True)], Axis("x"), Axis("y", log=True))
    assert drawing.count("<title>a: ") == 2
    assert "nan" not in drawing


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 2.0)], [(0.0, 0.0), (1.0, 0.0)]])
def test_degenerate_series_still_draw(points: list[tuple[float, float]]) -> None:
    drawing = chart("k", "t", "d", [Series("a", 0, points)], Axis("x"), Axis("y"))
    assert not re.search(r"nan|inf", drawing)


def test_texts_are_escaped_and_the_chart_is_well_formed_and_named() -> None:
    hostile = '<script>alert("x")</script>&'
    series = [Series(hostile, 1, [(0.0, 1.0), (1.0, 2.0)], [(0.0, 0.5, 1.5), (1.0, 1.5, 2.5)], marked=True)]
    drawing = chart('k"', hostile, hostile, series, Axis(hostile), Axis("y"))
    assert "<script" not in drawing
    root = ElementTree.fromstring(f"<div>{drawing}</div>")
    svg = root.find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    named = [svg.find(f".//*[@id='{key}']") for key in svg.get("aria-labelledby", "").split()]
    assert [element.text for element in named if element is not None] == [hostile, hostile]
    assert len(root.findall("ul/li")) == 1
