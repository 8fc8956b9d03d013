"""Paths that cannot be, wherever one is given: one error, JSON, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ast_ray.cli.main import main
from tests.cli.test_damage import problem_of

BAD = {"no user": "~nosuchuser/x", "null": "a\0b", "long name": "x" * 300, "long path": "/".join(["x" * 99] * 60)}
PLACES: dict[str, list[str]] = {
    "info": ["info", "BAD"],
    "report": ["report", "BAD"],
    "export": ["export", "BAD"],
    "evaluate": ["evaluate", "BAD"],
    "evaluate out": ["evaluate", "random", "--preset", "digits", "--backend", "serial", "--out", "BAD"],
    "run out": ["run", "--preset", "digits", "--backend", "serial", "--out", "BAD"],
    "run store": ["run", "--preset", "digits", "--backend", "serial", "--store", "BAD", "--out", "out"],
    "run source": ["run", "--backend", "serial", "--source", "BAD", "--out", "out"],
    "run config": ["run", "--config", "BAD", "--out", "out"],
    "distill experts": ["distill", "--preset", "digits", "--methods", "ast", "--experts", "BAD", "--backend", "serial"],
    "data inspect": ["data", "inspect", "BAD"],
    "data png": ["data", "inspect", "digits", "--png", "BAD"],
    "data list": ["data", "list", "--root", "BAD"],
    "import images": ["import", "BAD", "--to", "x.safetensors"],
    "import labels": ["import", "x.npy", "--labels", "BAD", "--to", "x.safetensors"],
    "import to": ["import", "x.npy", "--to", "BAD.safetensors"],
    "tune space": ["tune", "--preset", "digits", "--space", "BAD.py"],
    "tune out": ["tune", "--preset", "digits", "--backend", "serial", "--out", "BAD"],
    "tune resume": ["tune", "--resume", "BAD"],
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("place", PLACES)
def test_a_path_that_cannot_be(place: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.replace("BAD", BAD[kind]) for word in PLACES[place]]
    result = CliRunner().invoke(main, [*words, "--json"])
    assert problem_of(result) == ""
    assert result.exit_code in (1, 2) or place == "data list"  # of a folder that is not there
    assert len(result.stderr) < 12_000
    assert list(tmp_path.iterdir()) == []
