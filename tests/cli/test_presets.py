from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from ast_ray.config import load_yaml, to_dict
from ast_ray.config.presets import PRESETS, preset

Call = Callable[..., Result]


def test_every_preset_is_listed_with_what_it_is_for(call: Call) -> None:
    found = json.loads(call("presets", "list", "--json").stdout)
    assert found.keys() == PRESETS.keys() >= {"digits", "cifar10-ipc1", "cifar10-ipc10", "cifar10-cpu"}
    assert all(len(row["what"]) > 20 for row in found.values())
    shown = call("presets", "list").stdout
    assert all(name in shown for name in PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_shown_can_be_saved_and_read_back(call: Call, tmp_path: Path, name: str) -> None:
    result = call("presets", "show", name)
    assert result.exit_code == 0
    file = tmp_path / "settings.yaml"
    file.write_text(result.stdout)
    assert load_yaml(file) == preset(name)
    assert json.loads(call("presets", "show", name, "--json").stdout) == to_dict(preset(name))


def test_the_sources_of_the_values_stand_above_them(call: Call) -> None:
    assert call("presets", "show", "cifar10-ipc1").stdout.startswith("# CIFAR-10, 1 image per class")
