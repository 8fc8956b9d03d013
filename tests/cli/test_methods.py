"""``ast-ray methods``, settings that no method of a run reads, and experts where none are matched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ast_ray.cli.main import main
from ast_ray.config.methods import METHODS


def call(*words: str):
    return CliRunner().invoke(main, list(words))


def test_all_methods_are_listed_with_needs_cost_and_published_accuracy():
    rows = json.loads(call("methods", "--json").stdout)
    assert list(rows) == list(METHODS)
    assert rows["dm"]["needs"] == "real images"
    assert rows["ast"]["learns"] == ["images", "learning rate"]
    assert rows["frepo"]["learns"] == ["images", "labels"]
    assert rows["dc"]["published"]["cifar10-ipc10"] == [44.9, 0.5]
    # 256 real images of 10 classes forward, 10 synthetic ones forward and backward
    assert rows["dm"]["forwards"] == 256 * 10 + 3 * 10
    assert all(row["forwards"] > 0 for row in rows.values())
    text = call("methods").stdout
    for info in METHODS.values():
        assert f"{info.name}: {info.summary} ({info.paper})" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--methods", "dm", "--feature-alignment.moved", "0.1"], "feature_alignment.moved = 0.1: not read by dm"),
        (["--methods", "dm,dc", "--syn-steps", "4"], "not read by dm, dc, the methods of this run"),
        (["--methods", "dm", "--distill.outer", "sgd", "--lr-img", "3"], "distill.lr_img = 3.0: not read by dm"),
        (["--methods", "frepo", "--step-img", "0.1"], "distill.step_img = 0.1: not read by frepo"),
        (["--methods", "dm", "--baselines", "random", "--expert.lr", "1"], "it is a setting of ast, mtt, ftd, tesla"),
        (["--methods", "ast", "--mtt-lr-lr", "1"], "run.mtt_lr_lr = 1.0: not read by ast"),
    ],
)
def test_a_setting_that_no_method_reads_is_refused(words: list[str], told: str, tmp_path: Path):
    found = call("run", *words, "--out", str(tmp_path / "run"))
    assert found.exit_code == 2
    assert told in found.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [["experts"], ["distill", "--experts", "somewhere"]])
def test_a_method_that_matches_no_experts_trains_none(command: list[str], tmp_path: Path):
    found = call(*command, "--methods", "dm", "--out", str(tmp_path / "run"))
    assert found.exit_code == 2
    assert "run.methods = 'dm': matches no experts; those that do: ast, mtt, ftd, tesla" in found.stderr
