"""The head of a run: aligned lines on stderr before the work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from ast_ray.cli.header import about, header
from ast_ray.config import Config
from ast_ray.stages.run.estimate import Expected
from ast_ray.stages.run.open import record_run
from ast_ray.stages.run.pipeline import Plan
from tests.tiny import tiny_plan

Words = Callable[..., list[str]]
Call = Callable[..., Result]
# conv 4*9 + 4, norm 4 + 4, linear 10*(4*16) + 10
P = 36 + 4 + 8 + 640 + 10


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes, on two workers."""
    needs = Expected(130.0, 2, 40 * 2**20, 3 * 2**20, left=True, available=8 * 2**30)
    monkeypatch.setattr("ast_ray.cli.header.expected", lambda *_: needs)


def lines_of(text: str) -> dict[str, str]:
    """The head's lines by name."""
    return dict(re.findall(r"^(preset|data|network|methods|engines|folder|expected) +(.*)$", text, re.MULTILINE))


@pytest.mark.usefixtures("fixed")
def test_lines_are_aligned_and_say_what_will_be_done(tiny: Callable[..., Config], tmp_path: Path) -> None:
    plan = tiny_plan(tiny(), tmp_path / "run")
    assert header(plan, "named") == [
        "preset    digits (named)",
        "data      digits: 10 classes, 8x8 px, grey; 100 training, 297 validation, 500 test images",
        f"network   ConvNet of width 4, depth 1, {P} parameters",
        "methods   AST, MTT; baselines: random, representative, full",
        "engines   experts eager; matching eager, recompute",
        f"folder    {tmp_path / 'run'}",
        "expected  about 2 min on 2 workers; about 40 MiB of memory per worker beside torch's own (the machine has "
        "8.0 GiB); 3.0 MiB of disk for experts",
    ]


@pytest.mark.usefixtures("fixed")
def test_stages_networks_and_folders_differ(tiny: Callable[..., Config], tmp_path: Path) -> None:
    plan = tiny_plan(tiny(network__name="mlp", network__depth=0, scores=True, baselines="random"), tmp_path)
    lines = lines_of("\n".join(header(plan, "named", ("experts",))))
    assert lines["methods"] == "AST, MTT (experts only)"
    assert lines["engines"] == "experts eager"
    assert lines["network"].startswith("MLP of width 4, depth 2, ")
    lines = lines_of("\n".join(header(plan, "named", ("experts", "distillation"))))
    assert lines["methods"] == "AST, MTT (no evaluation)"
    assert lines_of("\n".join(header(plan, "named")))["methods"] == "AST, MTT; baselines: random, full"
    record_run(plan, [])
    assert lines_of("\n".join(header(plan, "named")))["folder"] == f"{tmp_path}, which holds this run already"


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        (Expected(0.0, 2, 0, 0, left=False), "nothing is left to do"),
        (Expected(4.0, 1, 0, 0, left=True), "a few seconds on 1 worker"),
        (Expected(None, 2, 2**30, 0, left=True), "time not known in advance, on GPUs and clusters; about 1.0 GiB of "),
        (Expected(7300, 2, 0, 0, True, partly=True), "about 2 h on 2 workers, networks of other architectures not"),
    ],
)
def test_what_is_expected(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: Expected, text: str
) -> None:
    monkeypatch.setattr("ast_ray.cli.header.expected", lambda *_: needs)
    assert lines_of("\n".join(header(tiny_plan(tiny(), tmp_path), "named")))["expected"].startswith(text)


def test_times_are_rounded() -> None:
    assert [about(seconds) for seconds in (3, 12, 47, 89, 100, 600, 5000)] == [
        "a few seconds",
        "about 10 s",
        "about 50 s",
        "about 90 s",
        "about 2 min",
        "about 10 min",
        "about 83 min",
    ]


def test_a_run_begins_with_its_head_and_says_nothing_of_it_again(call: Call, words: Words, tmp_path: Path) -> None:
    few = words(run__methods="mtt", run__baselines="random", distill__iterations=2)
    result = call("run", *few, "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.stderr
    told = result.stderr.splitlines()
    assert [line.split()[0] for line in told[:7]] == [
        "preset", "data", "network", "methods", "engines", "folder", "expected",
    ]  # fmt: skip
    assert told[0] == "preset    digits (named)"
    assert not any(line.startswith(("experts: engine", "matching: engine")) for line in told)
    assert not lines_of(result.stdout)
    again = lines_of(call("run", *few, "--out", str(tmp_path / "run")).stderr)
    assert again["expected"] == "nothing is left to do"
    assert again["folder"] == f"{tmp_path / 'run'}, which holds this run already"
    assert lines_of(call("distill", *few, "--out", str(tmp_path / "run")).stderr)["methods"] == "MTT (no evaluation)"
    silent = call("run", *few, "--out", str(tmp_path / "run"), "--json")
    assert not lines_of(silent.stderr)
    assert json.loads(silent.stdout)["run"] == str(tmp_path / "run")


@pytest.mark.usefixtures("fixed")
def test_the_head_says_why_the_settings_are_these(call: Call, pets: Path, words: Words, tmp_path: Path) -> None:
    changes = words(distill__expert_epochs=2)[2:]  # without the preset's name
    at = changes.index("--data.train-size")
    changes = changes[:at] + changes[at + 2 :]
    common = ["--data.root", str(tmp_path / "cache"), "--out", str(tmp_path / "run"), "--run.methods", "mtt"]
    result = call("experts", "--source", str(pets), *changes, *common)
    assert result.exit_code == 0, result.stderr
    lines = lines_of(result.stderr)
    assert lines["preset"] == "pets-ipc1 (automatic: 16 px, 3 classes, 24 training images: the small-set preset)"
    assert lines["data"].endswith("16x16 px, rgb; 21 training, 3 validation, 6 test images")
    assert result.stderr.count("split of ") == 2  # 3 and 6 images tell nothing; said once
    assert "test split of 6 images: one image is 16.7 points" in result.stderr
    config = str(tmp_path / "run" / "config.yaml")
    again = lines_of(call("experts", "--config", config, "--out", str(tmp_path / "run")).stderr)
    assert again["preset"] == f"pets-ipc1 (settings of {config})"


def test_small_splits_are_said_with_json_too(call: Call, words: Words, tmp_path: Path, reference: Plan) -> None:
    few = words(data__validation_size=20, run__methods="none", run__baselines="random")
    result = call("run", *few, "--out", str(tmp_path / "run"), "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("validation split of 20 images: one image is 5.0 points") == 1
    assert "test split" not in result.stderr
    assert json.loads(result.stdout)["verdicts"] == []
