from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from ast_ray.cli.command_line import command_line
from ast_ray.config import Config
from ast_ray.errors import AstRayError
from ast_ray.stages.run.open import record_run
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.trajectory import TrajectoryWriter
from tests import documents
from tests.tiny import tiny_plan

Call = Callable[..., Result]


@pytest.fixture
def run(reference: Plan, tiny: Callable[..., Config], tmp_path: Path) -> Path:
    """A copy of the finished run, with its config."""
    shutil.copytree(reference.directory.path, tmp_path / "run [1]")
    record_run(tiny_plan(tiny(), tmp_path / "run [1]"), command_line())
    return tmp_path / "run [1]"


def test_a_finished_run(call: Call, run: Path) -> None:
    result = call("info", str(run))
    assert result.exit_code == 0
    assert f"run: {run} (preset digits, seed 0)" in result.stdout
    assert result.stdout.count("2 finished, 3 epochs, Avg_Var") == 2
    assert "ast: finished, 6 iterations, best validation accuracy" in result.stdout
    assert "representative real images" in result.stdout
    assert result.stdout.rstrip().endswith("\nfinished")


def test_json_holds_the_same_rows_as_the_results(call: Call, run: Path) -> None:
    found = json.loads(call("info", str(run), "--json").stdout)
    assert found["finished"] is True
    assert found["rows"] == documents.content(run / "results.json")["rows"]
    assert [buffer["experts"] for buffer in found["buffers"]] == [2, 2]


def test_a_run_in_the_middle(call: Call, run: Path) -> None:
    (run / "results.json").unlink()
    (run / "distill" / "ast" / "outcome.json").unlink()
    metrics = run / "distill" / "ast" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:4]) + '{"iter')
    shutil.rmtree(run / "distill" / "mtt")
    found = json.loads(call("info", str(run), "--json").stdout)
    assert found["methods"] == {"ast": "iteration 4 of 6", "mtt": "not started"}
    assert found["finished"] is False
    assert "not finished: the same command again goes on" in call("info", str(run)).stdout


def test_a_set_that_is_gone_or_damaged_is_named(call: Call, run: Path) -> None:
    (run / "distill" / "mtt" / "checkpoint.safetensors").unlink()
    for method, expected in (
        ("ast", "synthetic.safetensors is missing: the same command makes it again from the checkpoint"),
        ("mtt", "last.safetensors is damaged: the same command makes it again from the start, since the checkpoint is"),
    ):
        path = run / "distill" / method / ("synthetic.safetensors" if method == "ast" else "last.safetensors")
        content = path.read_bytes()
        path.unlink()
        if method == "mtt":
            path.write_bytes(content[:-1])
        result = call("info", str(run))
        assert result.exit_code == 0
        assert expected in result.stdout
        assert f"{method}: finished" not in result.stdout
        assert "not finished: the same command again goes on" in result.stdout
        assert json.loads(call("info", str(run), "--json").stdout)["finished"] is False
        path.write_bytes(content)


def test_a_damaged_outcome_is_named(call: Call, run: Path) -> None:
    for content in ("{", "[]", "{}", '{"fingerprint": 1, "iterations": null}'):
        (run / "distill" / "ast" / "outcome.json").write_text(content)
        result = call("info", str(run))
        assert result.exit_code == 1
        assert "outcome.json: damaged (" in result.stderr


def test_while_the_first_expert_is_being_written(call: Call, run: Path, reference: Plan) -> None:
    shutil.rmtree(run / "distill")
    (run / "results.json").unlink()
    for file in (run / "experts").glob("*/expert-*"):
        file.unlink()
    with TrajectoryWriter.create(run / "experts" / reference.buffer("ast").fingerprint / "expert-00000.parquet", 1, {}):
        result = call("info", str(run))
    assert result.exit_code == 0
    assert "Avg_Var" not in result.stdout
    assert "ast: not started" in result.stdout


def test_a_damaged_expert_is_named(call: Call, run: Path, reference: Plan) -> None:
    expert = run / "experts" / reference.buffer("ast").fingerprint / "expert-00000.parquet"
    expert.write_bytes(expert.read_bytes()[:1000])
    result = call("info", str(run))
    assert result.exit_code == AstRayError.exit_code
    assert str(expert) in result.stderr


def test_looking_changes_nothing(call: Call, run: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    call("info", str(run))
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*")} == before
