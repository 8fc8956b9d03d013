from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from ast_ray.stages.run.pipeline import Plan
from tests import documents
from tests.tiny import artefacts, assert_same

Words = Callable[..., list[str]]
Call = Callable[..., Result]


@pytest.fixture(scope="module")
def finished(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the command itself."""
    from click.testing import CliRunner

    from ast_ray.cli.main import main

    path = tmp_path_factory.mktemp("finished") / "run"
    result = CliRunner().invoke(main, ["run", *words(), "--out", str(path), "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["run"] == str(path)
    assert [row["set"] for row in found["rows"]] == ["random", "representative", "mtt", "ast", "full"]
    return path


def test_the_command_gives_the_bytes_of_the_pipeline(finished: Path, reference: Plan) -> None:
    assert_same(finished, reference.directory.path)


def test_the_run_directory_holds_what_is_needed_to_know_what_happened(finished: Path) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["preset"] == "digits"
    assert config["network"]["width"] == 4
    manifest = documents.content(finished / "manifest.json")
    assert manifest["classes"] == list("0123456789")
    assert manifest["image_shape"] == [1, 8, 8]
    assert manifest["commands"][0]["environment"]["versions"]["torch"]
    assert list((finished / "tensorboard" / "distill" / "ast").glob("events.*"))


def test_the_same_command_again_prints_the_table_and_does_nothing(
    call: Call, words: Words, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ast-ray", "run", "again"])
    before = {name: (finished / name).stat().st_mtime_ns for name in artefacts(finished)}
    commands = len(documents.content(finished / "manifest.json")["commands"])
    result = call("run", *words(), "--out", str(finished))
    assert result.exit_code == 0
    for text in ("random real images", "representative real images", "MTT", "AST", "full data", "±"):
        assert text in result.stdout
    assert f"run directory: {finished}\n" in result.stdout
    assert {name: (finished / name).stat().st_mtime_ns for name in before} == before
    after = documents.content(finished / "manifest.json")["commands"]
    assert len(after) == commands + 1
    assert after[-1]["command"] == ["ast-ray", "run", "again"]


def test_the_table_is_followed_by_what_it_decides(call: Call, words: Words, finished: Path) -> None:
    verdicts = documents.content(finished / "results.json")["verdicts"]
    assert {verdict["method"] for verdict in verdicts} >= {"ast", "mtt"}
    run, info = call("run", *words(), "--out", str(finished)), call("info", str(finished))
    for result in (run, info):
        lines = result.stdout.splitlines()
        places = [lines.index(verdict["text"]) for verdict in verdicts]
        assert places == list(range(places[0], places[0] + len(verdicts)))
        assert "└" in lines[places[0] - 1]  # the end of the table
    assert json.loads(call("info", str(finished), "--json").stdout)["verdicts"] == verdicts


def test_other_settings_in_the_same_directory_are_refused_by_name(call: Call, words: Words, finished: Path) -> None:
    before = (finished / "config.yaml").read_bytes()
    result = call("run", *words(distill__step_img=0.01, seed=1), "--out", str(finished))
    assert result.exit_code == 1
    assert "holds a run with other settings" in result.stderr
    assert "distill.step_img: 0.01 here, 0.05 there" in result.stderr
    assert "seed: 1 here, 0 there" in result.stderr
    assert (finished / "config.yaml").read_bytes() == before


def test_where_it_runs_may_change(call: Call, words: Words, finished: Path) -> None:
    result = call("run", *words(compute__max_attempts=5, compute__workers=1), "--out", str(finished))
    assert result.exit_code == 0, result.stderr


def test_a_saved_config_is_the_same_run(call: Call, finished: Path, tmp_path: Path, reference: Plan) -> None:
    result = call("run", "--config", str(finished / "config.yaml"), "--out", str(tmp_path / "again"))
    assert result.exit_code == 0, result.stderr
    assert_same(tmp_path / "again", reference.directory.path)


def test_experts_then_distill_is_the_same_as_run(call: Call, words: Words, reference: Plan, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    result = call("experts", *words(), "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "Avg_Var" in result.stdout
    assert not (tmp_path / "run" / "distill").exists()
    result = call("distill", *words(), "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["distilled"]
    assert found.keys() == {"ast", "mtt"}
    assert Path(found["ast"]["path"]).exists()
    assert not (tmp_path / "run" / "evaluation").exists()
    assert_same(tmp_path / "run", reference.directory.path)


def test_experts_of_another_run_handed_over(call: Call, words: Words, reference: Plan, tmp_path: Path) -> None:
    buffer = str(reference.buffer("ast").folder)
    command = ["distill", *words(run__methods="ast"), "--experts", buffer, "--out", str(tmp_path / "run")]
    result = call(*command)
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "run" / "experts").exists()
    assert "ast: validation accuracy" in result.stdout


@pytest.mark.parametrize(
    ("folder", "overrides", "text"),
    [
        ("mtt", {"run__methods": "ast"}, "expert.penalty_weight: 0.1 here, 0.0 there"),
        ("ast", {"run__methods": "ast", "network__width": 8}, "network.width: 8 here, 4 there"),
        ("ast", {}, "one folder of experts serves one method"),
    ],
)
def test_a_foreign_buffer_is_refused_before_anything_is_written(
    call: Call, words: Words, reference: Plan, tmp_path: Path, folder: str, overrides: dict[str, object], text: str
) -> None:
    buffer = reference.buffer(folder).folder
    before = sorted(buffer.iterdir())
    result = call("distill", *words(**overrides), "--experts", str(buffer), "--out", str(tmp_path / "run"))
    assert result.exit_code in (1, 2)
    assert text in result.stderr
    assert not (tmp_path / "run").exists()
    assert sorted(buffer.iterdir()) == before


def test_a_buffer_that_is_not_there(call: Call, words: Words, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        command = ["distill", *words(run__methods="ast"), "--experts", str(tmp_path / name)]
        result = call(*command, "--out", str(tmp_path / "run"))
        assert result.exit_code == 1
        assert f"{name}: no experts here" in result.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty"]


def test_a_damaged_expert_is_found_before_work_and_trained_again_once_deleted(
    call: Call, words: Words, reference: Plan, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference.directory.path, run)
    expert = run / "experts" / reference.buffer("ast").fingerprint / "expert-00001.parquet"
    whole = expert.read_bytes()
    expert.write_bytes(whole[: len(whole) // 2])
    result = call("run", *words(), "--out", str(run), "--json")
    assert result.exit_code == 1
    assert "delete it and it is trained again" in json.loads(result.stdout)["error"]["message"]
    expert.unlink()
    assert call("run", *words(), "--out", str(run)).exit_code == 0
    assert expert.read_bytes() == whole


def test_the_default_run_directory_is_named_after_the_preset(
    call: Call, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("experts", *words(run__methods="mtt", expert__count=1, expert__epochs=3))
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "runs" / "digits" / "config.yaml").exists()
