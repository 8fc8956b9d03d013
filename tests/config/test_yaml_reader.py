from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
import yaml

from ast_ray.config import Config, load_yaml, to_dict, to_yaml
from ast_ray.config.presets import PRESETS, preset
from ast_ray.config.yaml_reader import DEEPEST, LARGEST, MOST_VALUES, parse_yaml, read_yaml, write_yaml
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
    for path, kind in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), (Path("/dev/zero"), "a device")):
        with pytest.raises(ValueError, match=f"{kind}, not a file"):
            read_yaml(path)


@pytest.mark.parametrize(
    "text",
    ["a: !!int x", "a: !!int ''", "a: !!timestamp x", "a: " + "9" * 5000, "? [1]\n: 2", "a: *b"],
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
    assert parse_yaml(text) == to_dict(preset(name))
    assert parse_yaml(to_yaml(Config())) == to_dict(Config())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-007", -7),
        ("!!int 010", 10),
        ("1e-6", 1e-6),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.0e+3", 1000.0),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("2020-02-30", "2020-02-30"),
        ("'010'", "010"),
        ("true", True),
        ("~", None),
    ],
)
def test_scalars_are_read_as_the_command_line_reads_them(text, value):
    found = parse_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("distill:\n  ipc: 1\n  rho: 0\n  ipc: 50\n", r"key 'ipc' again; it stands in line 2 already.*line 4"),
        ("a: 1\nb: {c: 1}\na: 1\n", r"key 'a' again; it stands in line 1 already.*line 3"),
        ("- {x: 1, 'x': 1}\n", "key 'x' again"),
        ("a: !!int x\n", "'x' is not a whole number"),
        (f"a: {'9' * 5000}\n", "is not a whole number"),
        ("a: !!python/name:os.system ''\n", "could not determine a constructor"),
    ],
)
def test_what_is_refused(text, told):
    with pytest.raises(ValueError) as caught:
        parse_yaml(text)
    assert re.search(told, " ".join(str(caught.value).split()))


def test_a_merged_key_may_be_given_again():
    found = parse_yaml("base: &base {ipc: 1, rho: 0}\ndistill: {<<: *base, ipc: 50}\n")
    assert found["distill"] == {"ipc": 50, "rho": 0}


@pytest.mark.parametrize("text", ["010", "09", "1e-6", "1e5", "1:30", "0x10", "2020-02-02", "yes", "", "a: b", ".inf"])
def test_texts_that_look_like_numbers_stay_texts(text):
    assert parse_yaml(write_yaml({"source": text, "count": 10})) == {"source": text, "count": 10}
