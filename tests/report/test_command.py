from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ast_ray.cli.main import main


def test_one_run_gets_its_page(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    page = tmp_path / "run" / "report.html"
    assert str(page) in done.output
    assert "Features of class 0" in page.read_text(encoding="utf-8")


def test_json_says_where_and_how_large(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    done = CliRunner().invoke(main, ["report", str(run), "--out", str(target), "--no-features", "--json"])
    assert json.loads(done.stdout) == {"report": str(target), "bytes": target.stat().st_size}


def test_several_runs_go_to_one_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["report", str(run), str(run), "--no-features"])
    assert done.exit_code == 0, done.output
    assert "Runs side by side" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_missing_experts_are_a_note_not_a_failure(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "experts")
    (tmp_path / "run" / "features.json").unlink()
    done = CliRunner().invoke(main, ["report", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "no expert to look through" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_what_is_no_run_is_one_message(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert done.exit_code == 1
    assert "not a run directory" in " ".join(done.stderr.split())
    assert os.listdir(tmp_path) == []
