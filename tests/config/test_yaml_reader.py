from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from ast_ray.config import Config, load_yaml, to_yaml
from ast_ray.config.presets import PRESETS, preset
from ast_ray.config.yaml_reader import DEEPEST, LARGEST, MOST_VALUES, parse_yaml, read_yaml
from ast_ray.errors import ConfigError


def grown(first: str, line: str, levels: int = 9) -> str:
    """``levels`` lines, each of which repeats the one before nine times."""
    names = "abcdefghijklm"
    repeated = [line.format(name=names[n + 1], nine=",".join(["*" + names[n]] * 9)) for n in range(levels)]
    return "\n".join([first, *repeated])


TOO_MUCH = {
    "aliases": (grown("a: &a [x,x,x,x,x,x,x,x,x]", "{name}: &{name} [{nine}]"), "more than 10000 values"),
    "merged mappings": (grown("a: &a {k: 1}", "{name}: &{name}\n  <<: [{nine}]"), "more than 10000 values"),
    "a list in itself": ("a: &a [*a]", "line 1: a value that contains itself"),
    "a mapping in itself": ("x: 1\na: &a {b: [*a]}", "line 2: a value that contains itself"),
    "lists": ("[" * 100_000, f"nested deeper than {DEEPEST}"),
    "mappings": ("{a: " * 50_000, f"nested deeper than {DEEPEST}"),
    "blocks": ("\n".join(" " * n + "a:" for n in range(500)), f"line {DEEPEST}: nested deeper than {DEEPEST}"),
    "items": ("- x\n" * 50_000, f"more than {MOST_VALUES} values"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_is_too_much_is_refused_at_once(name: str) -> None:
    text, reason = TOO_MUCH[name]
    began = time.process_time()
    with pytest.raises(ValueError, match=reason):
        parse_yaml(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_configuration_of_that_kind_is_an_error_of_the_settings(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TOO_MUCH[name][0])
    with pytest.raises(ConfigError, match=TOO_MUCH[name][1]):
        load_yaml(tmp_path / "x.yaml")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ValueError, match="larger than 256 KiB"):
        read_yaml(tmp_path / "x.yaml")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a plain file"):
            read_yaml(path)


@pytest.mark.parametrize(
    "text",
    ["a: 2020-02-30", "a: !!int x", "a: !!int ''", "a: !!timestamp x", "a: " + "9" * 5000, "? [1]\n: 2", "a: *b"],
)
def test_values_that_cannot_be_are_errors_too(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        load_yaml(tmp_path / "x.yaml")


def test_a_few_aliases_are_welcome() -> None:
    text = "fast: &fast {lr: 0.1, momentum: 0.9}\nslow:\n  <<: *fast\n  lr: 0.01\nrates: [&r 1, *r, *r]\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml(text)["slow"] == {"lr": 0.01, "momentum": 0.9}  # type: ignore[index]
    assert parse_yaml("") is None


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_configuration_is_far_below_the_limits(name: str) -> None:
    text = to_yaml(preset(name))
    assert len(text) < LARGEST / 10
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml(to_yaml(Config())) == yaml.safe_load(to_yaml(Config()))
