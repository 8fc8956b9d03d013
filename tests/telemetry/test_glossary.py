from __future__ import annotations

import pytest

from ast_ray.telemetry.glossary import BY_TAG, METRICS, Metric
from ast_ray.telemetry.tensorboard import LAYOUT


def test_tags_are_unique() -> None:
    assert len(BY_TAG) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.tag)
def test_every_metric_says_unit_meaning_and_a_bad_value(metric: Metric) -> None:
    assert metric.unit
    assert len(metric.meaning) > 20
    assert len(metric.bad) > 10
    assert metric.bad in metric.description


def test_the_layout_shows_known_tags_only() -> None:
    tags = {tag for charts in LAYOUT.values() for _, shown in charts.values() for tag in shown}
    assert tags <= set(BY_TAG)
