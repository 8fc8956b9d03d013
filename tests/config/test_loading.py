"""Overrides by name and YAML files: to a configuration and back, every problem at once."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import yaml

from ast_ray.config import Config, apply_overrides, check, from_dict, load_yaml, to_dict, to_yaml
from ast_ray.config.datasets import DatasetFacts
from ast_ray.config.loading import flatten
from ast_ray.config.presets import PRESETS
from ast_ray.config.presets.automatic import automatic
from ast_ray.errors import ConfigError


def test_overrides_reach_every_section_and_keep_the_rest():
    base = Config()
    changed = apply_overrides(
        base, {"seed": "7", "rho": 0.05, "expert.lr": "0.02", "max-start-epoch": "4", "width": 16}
    )
    assert (changed.seed, changed.distill.rho, changed.expert.lr) == (7, 0.05, 0.02)
    assert (changed.distill.max_start_epoch, changed.network.width) == (4, 16)
    assert base == Config()
    undone = apply_overrides(
        changed, {"seed": 0, "rho": 0.1, "expert.lr": 0.003, "distill.max_start_epoch": 2, "width": 128}
    )
    assert undone == base


def test_every_problem_is_reported_at_once_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Config(), {"expert.epoch": 3, "lr": 0.1, "ipc": 0, "rho": "big", "seed": 1, "init": "random"})
    problems = {problem.setting: problem for problem in caught.value.problems}
    assert list(problems) == ["expert.epoch", "lr", "distill.ipc", "distill.rho", "distill.init"]
    assert problems["expert.epoch"].reason == "unknown setting; did you mean 'expert.epochs'?"
    assert (
        problems["lr"].reason
        == "unknown setting; did you mean 'expert.lr' or 'feature_regression.lr' or 'evaluate.lr'?"
    )
    assert problems["distill.ipc"].value == 0
    assert problems["distill.init"].reason == (
        "not one of representative, random-real, noise; did you mean 'random-real'?"
    )
    assert str(caught.value).splitlines()[2] == "distill.ipc = 0: must be at least 1"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("distil.ipc", "distill.ipc"),
        ("evaluate.rho", "distill.rho"),
        ("student-rl", "student_lr"),
        ("EPOCHS", "expert.epochs"),
    ],
)
def test_unknown_names_are_answered_with_what_was_meant(name, meant):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Config(), {name: 1})
    assert meant in str(caught.value)
    assert "unknown setting; did you mean" in str(caught.value)


def test_yaml_round_trip(tmp_path):
    config = apply_overrides(
        Config(preset="own"),
        {
            "lr_lr": 1e-7,
            "methods": "ast",
            "baselines": "none",
            "siamese": True,
            "seed": 2**60 + 1,
            "data.source": "/ä b",
        },
    )
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_yaml(path) == config
    assert yaml.safe_load(to_yaml(config)) == to_dict(config)


def test_a_partial_file_changes_only_what_it_names(tmp_path):
    base = Config(seed=3)
    path = tmp_path / "partial.yaml"
    path.write_text(
        "distill:\n  lr_lr: 1e-6\n  ipc: 5\nexpert: {}\nrun:\n  methods: [mtt]\n"
    )  # 1e-6 is text in YAML 1.1
    config = load_yaml(path, base)
    assert config.distill == dataclasses.replace(base.distill, lr_lr=1e-6, ipc=5)
    assert config.run.methods == ("mtt",)
    assert (config.seed, config.expert, config.data) == (3, base.expert, base.data)
    assert load_yaml(path) == dataclasses.replace(config, seed=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"distill: [", "is not YAML"),
        (b"\xff\xfe\xfd", "is not YAML"),
        (b"", "holds no settings"),
        (b"- ipc\n", "holds no settings"),
        (b"!!python/object/apply:os.getcwd []\n", "is not YAML"),
        (b"distill:\n  ipcs: 3\n", "unknown setting; did you mean 'distill.ipc'?"),
        (b"distill:\n  ipc: {a: 3}\n", "unknown setting"),
        (b"expert:\n  count: 1\n  lr: 0.1\n  count: 50\n", "key 'count' again; it stands in line 2 already"),
        (b"distill: {ipc: 1}\ndistill.ipc: 50\n", "distill.ipc = 50: is given twice, as distill.ipc = 1 too"),
        (b"ipc: 1\ndistill: {ipc: 50}\n", "distill.ipc = 50: is given twice, as ipc = 1 too"),
    ],
)
def test_files_that_are_refused(tmp_path, content, reason):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "..", ".x", "a/b", "a\\b", "a b", "\x1b[31m", "x" * 101, "~x", "-x"]
)
def test_a_preset_is_a_plain_name(tmp_path, name):
    (tmp_path / "x.yaml").write_text(json.dumps({"preset": name}))
    with pytest.raises(ConfigError, match=r"preset = .*: expected a plain name"):
        load_yaml(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match=r"preset = .*: expected a plain name"):
        check(Config(preset=name))


def test_names_of_presets_are_plain(tmp_path):
    for name in (*PRESETS, "", automatic(DatasetFacts("../Übung [1]", 3, 3, 32, 100, 20), 1).preset):
        (tmp_path / "x.yaml").write_text(json.dumps({"preset": name}))
        assert load_yaml(tmp_path / "x.yaml").preset == name


def test_numbers_of_a_file_are_decimal_as_on_the_command_line(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("expert: {count: 010, lr: 1e-2}\n")
    assert load_yaml(path) == apply_overrides(Config(), {"expert.count": "010", "expert.lr": "1e-2"})
    assert load_yaml(path).expert.count == 10


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml.*cannot be read: No such file"):
        load_yaml(tmp_path / "absent.yaml")


def test_dictionaries_and_flat_names():
    values = to_dict(Config())
    assert from_dict(values) == Config()
    assert values["run"]["methods"] == ["ast", "mtt"]
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}


@pytest.mark.parametrize(
    "text",
    [
        "seed: 2020-02-30",
        "seed: !!int x",
        "seed: !!float x",
        "seed: !!bool x",
        "seed: !!timestamp x",
        "seed: !!python/object/apply:os.system [ls]",
        f"seed: {'9' * 5000}",
        f"seed: 0x{'f' * 5000}",
        f"seed: {'[' * 5000}",
        f"seed: {'9' * 400}.0",
        "seed: 2020-02-20",
        "seed: !!set {a, b}",
        "seed: !!binary aGVsbG8=",
        "? [a, b]\n: 3",
        "seed: \x07",
    ],
)
def test_yaml_values_that_cannot_be_are_one_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert len(caught.value.problems) == 1
    assert len(str(caught.value)) < 1000


def test_a_pipe_or_a_folder_is_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, told in ((tmp_path / "pipe.yaml", "a pipe, not a file"), (tmp_path, "a folder, not a file")):
        with pytest.raises(ConfigError, match=told):
            load_yaml(path)
