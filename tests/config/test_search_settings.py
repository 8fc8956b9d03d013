from __future__ import annotations

import dataclasses

import pytest

from ast_ray.config import TuneConfig, apply_overrides, expert_identity, method_identity, problems_of
from ast_ray.config.presets import preset


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        ({"tune.budget": 10, "tune.grace": 20}, "tune.grace"),
        ({"tune.report_every": 9999}, "tune.report_every"),
        ({"tune.scheduler": "pbt", "tune.searcher": "grid"}, "tune.searcher"),
    ],
)
def test_contradictions_between_search_settings_are_named(values: dict[str, object], setting: str) -> None:
    found = problems_of(apply_overrides(preset("digits"), values))
    assert [problem.setting for problem in found] == [setting]


def test_a_search_changes_no_identity() -> None:
    base = preset("digits")
    other = dataclasses.replace(base, tune=TuneConfig(trials=3, scheduler="fifo", budget=7, final_seeds=9))
    assert expert_identity(base, "d") == expert_identity(other, "d")
    assert method_identity(base, "d") == method_identity(other, "d")
