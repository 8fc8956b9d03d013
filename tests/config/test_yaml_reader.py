"""YAML of settings: what a number is, and that nothing is lost without a word."""

from __future__ import annotations

import re

import pytest
import yaml

from ast_ray.config.yaml_reader import read_yaml, write_yaml


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
    found = read_yaml(f"a: {text}")["a"]
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
    with pytest.raises(yaml.YAMLError) as caught:
        read_yaml(text)
    assert re.search(told, " ".join(str(caught.value).split()))


def test_a_merged_key_may_be_given_again():
    found = read_yaml("base: &base {ipc: 1, rho: 0}\ndistill: {<<: *base, ipc: 50}\n")
    assert found["distill"] == {"ipc": 50, "rho": 0}


@pytest.mark.parametrize("text", ["010", "09", "1e-6", "1e5", "1:30", "0x10", "2020-02-02", "yes", "", "a: b", ".inf"])
def test_texts_that_look_like_numbers_stay_texts(text):
    assert read_yaml(write_yaml({"source": text, "count": 10})) == {"source": text, "count": 10}
