"""Settings are frozen, and declared with a text and bounds."""

from __future__ import annotations

import dataclasses

import pytest

from ast_ray.config import Config
from ast_ray.config.field import setting


def test_nothing_can_be_changed_in_place():
    config = Config()
    for item in dataclasses.fields(Config):
        value = getattr(config, item.name)
        target, name = (
            (value, dataclasses.fields(value)[0].name) if dataclasses.is_dataclass(value) else (config, item.name)
        )
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(target, name, "other")


def test_sections_take_keywords_only():
    with pytest.raises(TypeError):
        type(Config().distill)(10)


def test_a_setting_carries_its_text_symbol_and_bounds():
    @dataclasses.dataclass
    class Section:
        value: float = setting(0.5, "what it is", symbol="x", above=0, high=1)

    (item,) = dataclasses.fields(Section)
    assert Section().value == 0.5
    assert item.metadata["doc"] == "what it is"
    assert item.metadata["symbol"] == "x"
    assert item.metadata["bounds"] == {"low": None, "above": 0, "high": 1, "below": None}
