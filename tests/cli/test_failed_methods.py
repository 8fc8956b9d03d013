"""A run of which a method fails: the table with what there is, the reason everywhere, the exit code, and the repair."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from ast_ray.cli.errors import end_with, missing_lines
from ast_ray.cli.main import main
from ast_ray.stages.run.pipeline import Plan
from ast_ray.telemetry.failure import Failure
from tests import documents

Words = Callable[..., list[str]]
Call = Callable[..., Result]

STEEP = "distill.outer=sgd,distill.lr_lr=1000"
REASON = "failed, iteration 1: alpha would become -"


@pytest.fixture(scope="module")
def failed(words: Words, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run whose MTT diverges, and what the command said."""
    path = tmp_path_factory.mktemp("failed") / "run"
    command = ["run", *words(run__mtt_settings=STEEP), "--out", str(path)]
    return path, CliRunner().invoke(main, command)


def test_the_rest_is_in_the_table_and_the_last_lines_say_what_is_missing(failed: tuple[Path, Result]) -> None:
    _, result = failed
    assert result.exit_code == 3
    shown = " ".join(result.stdout.replace("│", " ").split())
    for text in ("random real images", "AST", "full data", "MTT: failed, iteration 1: alpha would become"):
        assert text in shown
    *_, missing, how = result.stderr.splitlines()
    assert missing.startswith(f"missing: MTT, {REASON}")
    assert "lower distill.lr_lr" in missing
    assert "--mtt-settings NAME=VALUE changes MTT alone" in how
    assert "same command" not in result.stderr


def test_it_is_told_when_it_happens(failed: tuple[Path, Result]) -> None:
    lines = failed[1].stderr.splitlines()
    told = next(number for number, line in enumerate(lines) if line.startswith(f"mtt: {REASON}"))
    assert lines[told].endswith(". The rest goes on")
    assert any(line.startswith("evaluate: 8/8") for line in lines[told:])


def test_results_info_and_report_give_the_reason(failed: tuple[Path, Result], call: Call, tmp_path: Path) -> None:
    run, _ = failed
    (row,) = documents.content(run / "results.json")["failed"]
    assert row["set"] == "mtt"
    assert f"failed, iteration {row['iteration']}: {row['reason']}".startswith(REASON)
    info = call("info", str(run))
    assert info.exit_code == 0
    assert f"mtt: {REASON}" in info.stdout
    assert f"missing: MTT, {REASON}" in info.stdout
    assert not info.stdout.rstrip().endswith("finished")
    found = json.loads(call("info", str(run), "--json").stdout)
    assert (found["finished"], found["failed"]) == (False, [row])
    page = tmp_path / "page.html"
    assert call("report", str(run), "--out", str(page), "--no-features").exit_code == 0
    text = page.read_text()
    assert text.count(REASON) == 2, "in the summary and in the table"
    assert "what failed needs other settings" in text
    assert "MTT: iteration" not in text


def test_json_carries_the_same(call: Call, words: Words, failed: tuple[Path, Result]) -> None:
    run, _ = failed
    result = call("run", *words(run__mtt_settings=STEEP), "--out", str(run), "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert [row["set"] for row in found["rows"]] == ["random", "representative", "ast", "full"]
    assert found["failed"] == documents.content(run / "results.json")["failed"]
    assert "missing: MTT" in result.stderr
    assert "it is not tried again" in result.stderr


def test_nothing_that_is_not_a_number_is_written(failed: tuple[Path, Result]) -> None:
    for file in failed[0].rglob("*.json*"):
        assert "NaN" not in file.read_text()
        assert "Infinity" not in file.read_text()


def test_the_repair_in_the_same_folder(
    call: Call, words: Words, failed: tuple[Path, Result], reference: Plan, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(failed[0], run)
    ours = run / "distill" / "ast" / "synthetic.safetensors"
    before = (ours.stat().st_ino, ours.stat().st_mtime_ns)
    refused = call("run", *words(distill__step_img=0.01), "--out", str(run))
    assert refused.exit_code == 1
    assert "distill.step_img: 0.01 here, 0.05 there (ast is finished)" in refused.stderr
    assert "run.mtt_settings changes method mtt alone" in refused.stderr
    result = call("run", *words(), "--out", str(run))
    assert result.exit_code == 0, result.stderr
    assert "missing" not in result.stderr
    assert (ours.stat().st_ino, ours.stat().st_mtime_ns) == before
    theirs = documents.content(reference.directory.results)
    assert documents.content(run / "results.json") == theirs
    assert call("info", str(run)).stdout.rstrip().endswith("\nfinished")
    assert call("run", *words(run__methods="ast"), "--out", str(run)).exit_code == 0


def test_other_commands_keep_what_they_have_too(call: Call, words: Words, tmp_path: Path) -> None:
    command = [*words(run__mtt_settings=STEEP), "--out", str(tmp_path / "run")]
    result = call("experts", *command, "--json")
    assert (result.exit_code, json.loads(result.stdout)["failed"]) == (0, [])
    result = call("distill", *command, "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert found["distilled"].keys() == {"ast"}
    assert [row["set"] for row in found["failed"]] == ["mtt"]


def test_evaluate_shows_what_it_has(call: Call, words: Words, reference: Plan, tmp_path: Path) -> None:
    """A rate at which every network of one set diverges; the other set's rate is its own."""
    run = str(reference.directory.path / "distill" / "ast")
    command = [run, "random", "--evaluate.real-lr", "1e6", "--out", str(tmp_path), "--backend", "serial"]
    result = call("evaluate", *command)
    assert result.exit_code == 3
    shown = " ".join(result.stdout.replace("│", " ").split())
    assert "random real images: failed, 2 of 2 convnet networks" in shown
    assert "AST" in shown
    missing, how = result.stderr.splitlines()[-2:]
    assert missing.startswith("missing: random real images")
    assert missing.endswith("lower evaluate.real_lr")
    assert how == "The same settings fail in the same way."


def failure(**changed: object) -> dict[str, object]:
    values: dict[str, object] = {
        "set_name": "mtt", "stage": "distillation", "error": "TaskError", "reason": "its worker was lost 3 times",
        "advice": "", "lasting": False,
    }  # fmt: skip
    return Failure(**{**values, **changed}).row()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "code", "last"),
    [
        ([failure()], 1, "The same command again goes on from what is kept."),
        ([failure(), failure(lasting=True)], 3, "--methods leaves a method out."),
        (
            [failure(set_name="full", stage="evaluation", numbers=(1,), count=2, network="convnet", lasting=True)],
            3,
            "by ast-ray evaluate.",
        ),
    ],
)
def test_the_exit_code_says_whether_the_same_command_may_help(
    rows: list[dict[str, object]], code: int, last: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        end_with(Console(quiet=True), rows)
    assert caught.value.code == code
    assert missing_lines(rows)[-1].endswith(last)


def test_nothing_is_said_where_nothing_failed() -> None:
    end_with(Console(quiet=True), [])
    assert missing_lines([]) == []
