"""``ast-ray methods``, settings that no method of a run reads, and experts where none are matched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ast_ray.cli.main import main
from ast_ray.config import apply_overrides
from ast_ray.config.checks import unread_settings, unused_settings
from ast_ray.config.methods import METHODS
from ast_ray.config.presets import preset


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
        assert f"{info.name}: {info.family}; {info.summary} ({info.paper}); settings " in text
    assert "settings feature_regression.*" in text
    assert "\u2026" not in text, "no cell is cut"


def test_the_pass_that_a_paper_reports_is_told_for_each_method():
    told = {name: row["published_pass"] for name, row in json.loads(call("methods", "--json").stdout).items()}
    assert {name for name, one in told.items() if one == "last"} == {"dc", "dsa", "dm", "cafe"}
    assert {told[name] for name in ("ast", "mtt", "ftd", "tesla", "frepo")} == {"best on the test set"}


def test_cost_is_that_of_the_preset():
    rows = json.loads(call("methods", "--preset", "tesla-cifar10-ipc1", "--json").stdout)
    assert rows["tesla"]["forwards"] == 50 * 10 * 12  # N steps on all images
    refused = call("methods", "--preset", "tesla-cifar10-ipc2")
    assert refused.exit_code == 2
    assert "unknown preset" in refused.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--methods", "dm", "--feature-alignment.moved", "0.1"], "feature_alignment.moved = 0.1: not read by dm"),
        (["--methods", "dm,dc", "--syn-steps", "4"], "not read by dm, dc, the methods of this run"),
        (["--methods", "dm", "--distill.outer", "sgd", "--lr-img", "3"], "distill.lr_img = 3.0: not read by dm"),
        (["--methods", "frepo", "--step-img", "0.1"], "distill.step_img = 0.1: not read by frepo"),
        (["--methods", "dm", "--baselines", "random", "--expert.batch-size", "8"], "a setting of ast, mtt, ftd, tesla"),
        (["--methods", "dm", "--baselines", "full", "--expert.lr", "1"], "it is a setting of ast\n"),
        (["--methods", "ast", "--mtt-lr-lr", "1"], "run.mtt_lr_lr = 1.0: not read by ast"),
        (["--methods", "dm,cafe", "--lr-img", "3"], "; use distribution_matching.lr_img and feature_alignment.lr_img"),
        (["--methods", "frepo", "--distill.outer", "sgd", "--lr-img", "3"], "; use feature_regression.lr"),
        (["--methods", "dc", "--distill.init", "representative"], "read by dc, the methods of this run; it is a set"),
        (["--methods", "dc", "--distill.init", "representative"], "of ast; use gradient_matching.init"),
        (["--methods", "mtt", "--rho", "0.2"], "distill.rho = 0.2: not read by mtt, the methods of this run; it is a"),
        (["--methods", "ftd", "--expert.sharpness-rho", "1"], "expert.sharpness_rho = 1.0: not read by ftd"),
        (["--methods", "dm", "--distribution-matching.lr-img", "3"], "not used with distill.outer = normalized; use"),
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


def test_all_settings_that_are_not_read_are_told_at_once(tmp_path: Path):
    words = ["--syn-steps", "4", "--feature-alignment.moved", "0.1", "--distill.outer", "sgd", "--step-img", "0.1"]
    found = call("run", "--methods", "dm", *words, "--out", str(tmp_path / "run"))
    assert "3 problems" in found.stderr
    for name in ("distill.syn_steps", "feature_alignment.moved", "distill.step_img"):
        assert f"{name} = " in found.stderr


@pytest.mark.parametrize(
    "values",
    [
        {"run.methods": "ast,dm", "distill.rho": 0.2, "distribution_matching.real_batch": 8},
        {"run.methods": "mtt", "distill.rho": 0.0, "distill.syn_steps": 4},
        {"run.methods": "dm", "run.baselines": "herding", "expert.lr": 1.0},
        {"run.methods": "dm", "distill.outer": "sgd", "distribution_matching.lr_img": 3.0, "distill.siamese": True},
        {"run.methods": "dc", "distill.log_every": 1, "evaluate.passes": 3, "gradient_matching.init": "random-real"},
    ],
)
def test_a_setting_that_one_method_reads_is_taken(values: dict[str, object]):
    config = apply_overrides(preset("digits"), values)
    assert unread_settings(config, values) == []
    assert unused_settings(config, values) == []
