"""The command line: what it lists, refuses and adds."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.reproduce.__main__ import main, parser
from benchmarks.reproduce.results import ROOT, read_rows
from tests.benchmarks.reproduce.conftest import row


def test_every_study_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--seeds", "2", "--results", str(tmp_path / "none.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "cpu: cifar10-small: 0 of 10 cells" in said
    assert "imagenet" in said


def test_a_dry_run_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "ladder", "--seeds", "1", "--dry-run", "--results", str(tmp_path / "none.jsonl")]
    assert main([*words, "--variant", "base"]) == 0
    assert capsys.readouterr().out == "ladder / cifar10-small / base / seed 0\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "laddr"], "did you mean 'ladder'"),
        (["run", "ladder", "--scale", "papr"], "did you mean 'paper'"),
        (["run", "ladder", "--source", "/no/such/place"], "nothing there"),
    ],
)
def test_wrong_words_end_with_one_error(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error


def test_a_run_leaves_rows_and_a_second_one_nothing_to_do(
    tiny_base: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "cells.jsonl"
    words = ["run", "methods", "--base", tiny_base, "--variant", "random", "--seeds", "2"]
    words += ["--root", str(root), "--work", str(tmp_path / "work"), "--results", str(results), "--device", "cpu"]
    assert main(words) == 0
    assert "2 rows added" in capsys.readouterr().err
    assert [found["seed"] for found in read_rows(results)] == [0, 1]
    assert main(words) == 0
    assert "0 of 2 cells to run" in capsys.readouterr().err


def test_rows_from_elsewhere_are_merged_once(tmp_path: Path) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    here.write_text(json.dumps(row("MTT", 0, 0.2)) + "\n")
    there.write_text("".join(json.dumps(row("MTT", seed, 0.2)) + "\n" for seed in range(2)))
    assert main(["merge", str(there), "--results", str(here)]) == 0
    assert [found["seed"] for found in read_rows(here)] == [0, 1]


PAGES = [ROOT / "docs/reproduce.md", ROOT / "docs/results.md", ROOT / "benchmarks/README.md"]
COMMANDS = [
    line.replace("\\\n", " ")
    for page in PAGES
    for line in re.findall(r"^python -m benchmarks\.reproduce (.+?)(?<!\\)$", page.read_text("utf-8"), re.M | re.S)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_on_the_pages_parse(line: str) -> None:
    assert parser().parse_args(shlex.split(line, comments=True)).command


def test_there_are_commands_on_the_pages() -> None:
    assert len(COMMANDS) > 5
