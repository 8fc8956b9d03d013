"""One run per folder: the second is refused before it does anything, readers are not, a killed run blocks nobody."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen

import pytest
from click.testing import Result

from ast_ray.cli import session
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.claim import claimed
from ast_ray.storage.run_directory import RunDirectory
from tests.cli.conftest import parsed_error
from tests.cli.test_interruptions import LONG, wait_for
from tests.tiny import assert_same

Call = Callable[..., Result]
Start = Callable[[Sequence[str]], "Popen[str]"]
Words = Callable[..., list[str]]


def test_two_runs_with_other_settings_in_one_folder(
    words: Words, start: Start, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run")
    first = start(["run", *words(**LONG), "--out", str(run.path)])
    wait_for(run.config.exists, first)
    config = run.config.read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(session, "decode", lambda *_, **__: pytest.fail("work was begun"))
        for command in ("run", "experts", "distill"):
            second = call(command, *words(**LONG, distill__rho=0.5), "--out", str(run.path), "--json")
            assert second.exit_code == 1
            message = parsed_error(second)["message"]
            assert f"{run.path}: another run is at work in this folder (process {first.pid} on " in message
            assert "ast-ray run --preset digits" in message
    for reading in (["info", str(run.path), "--json"], ["report", str(run.path), "--no-features"]):
        assert call(*reading).exit_code == 0
    assert run.config.read_bytes() == config

    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    with claimed(run.path / ".lock", "another run", ["ast-ray"]):
        pass  # the lock is free


def test_a_run_after_a_run_finds_no_lock(call: Call, words: Words, reference: Plan, tmp_path: Path) -> None:
    for _ in range(2):
        assert call("run", *words(), "--out", str(tmp_path / "run")).exit_code == 0
        assert not (tmp_path / "run" / ".lock").exists()
    assert_same(tmp_path / "run", reference.directory.path)


def test_two_evaluations_in_one_folder(call: Call, reference: Plan, tmp_path: Path) -> None:
    words = (str(reference.directory.path), "--out", str(tmp_path / "rows"), "--backend", "serial", "--networks", "1")
    with claimed(tmp_path / "rows" / ".lock", "another run", ["ast-ray", "evaluate", "first"]):
        refused = call("evaluate", *words)
        assert refused.exit_code == 1
        assert "another command is at work in this folder" in refused.stderr
        assert "ast-ray evaluate first" in refused.stderr
    assert call("evaluate", *words).exit_code == 0
    assert not (tmp_path / "rows" / ".lock").exists()


def test_an_evaluation_into_a_run_waits_for_the_run(call: Call, words: Words, reference: Plan, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.config.write_bytes(b"preset: digits\n")
    out = ("--out", str(run.evaluation.path), "--backend", "serial")
    with claimed(run.lock, "another run", ["ast-ray", "run", "first"]):
        refused = call("evaluate", str(reference.directory.path), *out)
        assert refused.exit_code == 1
        assert "ast-ray run first" in refused.stderr


def test_two_searches_in_one_folder(call: Call, words: Words, tmp_path: Path) -> None:
    with claimed(tmp_path / "search" / ".lock", "another search", ["ast-ray", "tune", "first"]):
        refused = call("tune", *words(compute__backend="ray"), "--space", "smoke", "--out", str(tmp_path / "search"))
        assert refused.exit_code == 1
        assert "another search is at work in this folder" in refused.stderr
        assert "ast-ray tune first" in refused.stderr
        assert [path.name for path in (tmp_path / "search").iterdir()] == [".lock"]
