"""Names out of files are shown, and neither the terminal nor rich takes them for an instruction."""

from __future__ import annotations

import ast
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from rich.table import Table

from ast_ray.cli.display import Display, results_table, scores_table
from ast_ray.cli.terminal import Terminal, echo
from ast_ray.stages.run.pipeline import Plan
from ast_ray.telemetry.progress import Update
from tests import documents
from tests.conftest import MakePicture

Call = Callable[..., Result]
NAME = "cat\x1b[31m\x9b[/b][red]\n:dog:"
SHOWN = "cat\\x1b[31m\\x9b[/b][red]\\n:dog:"
CLI = Path(__file__).parents[2] / "ast_ray" / "cli"


def test_every_way_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    terminal = Terminal(file=file, width=200)
    table = Table(title=NAME, caption=NAME)
    table.add_column(NAME)
    table.add_row(NAME)
    terminal.print(NAME)
    terminal.print(table)
    echo(NAME)
    for text, times in ((file.getvalue(), 5), (capsys.readouterr().out, 1)):
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert text.count("cat\\x1b[31m\\x9b[/b][red]") == times


def test_tables_and_progress() -> None:
    row = {
        "set": NAME,
        "network": NAME,
        "protocol": "strict",
        "mean": 0.5,
        "std": None,
        "n": 1,
        "images": 3,
        "ior": 0.1,
    }
    file = io.StringIO()
    terminal = Terminal(file=file, width=300)
    terminal.print(results_table([row]))
    scores = scores_table([row])
    assert scores is not None
    terminal.print(scores)
    with Display(terminal) as display:
        display.update(Update(NAME, 1, 1, NAME))
        display.say(NAME)
    assert "\x1b" not in file.getvalue()
    assert file.getvalue().count(SHOWN) == 6


def test_progress_on_a_terminal_takes_brackets_for_brackets() -> None:
    file = io.StringIO()
    terminal = Terminal(file=file, width=300)
    terminal._force_terminal = True
    with Display(terminal) as display:
        display.update(Update(NAME, 1, 2, NAME))
    assert SHOWN in file.getvalue()
    assert "\x9b" not in file.getvalue()


def test_class_names_of_a_source(call: Call, make_picture: MakePicture, tmp_path: Path) -> None:
    name = "cat\x1b[31m\x9b\n"
    for folder in (name, "dog"):
        for index in range(6):
            make_picture(tmp_path / "pets" / folder / f"{index}.png", size=(8, 8), seed=index)
    options = ("--root", str(tmp_path / "root"), "--png", str(tmp_path / "x.png"))
    told = call("data", "inspect", str(tmp_path / "pets"), *options)
    assert told.exit_code == 0, told.stderr
    assert "classes: 2: cat\\x1b[31m\\x9b\\n, dog" in told.stdout
    assert "\x1b" not in told.output
    (tmp_path / "pets" / name / "0.png").write_bytes(b"broken")
    told = call("data", "inspect", str(tmp_path / "pets"), *options)
    assert told.exit_code == 1
    assert "cat\\x1b[31m\\x9b" in told.stderr
    assert "\x1b" not in told.output
    (tmp_path / "pets" / name / "0.png").unlink()
    found = call("data", "inspect", str(tmp_path / "pets"), *options, "--json")
    assert json.loads(found.stdout)["class_names"] == [name, "dog"]
    assert "\x1b" not in found.output


def test_a_run_of_a_stranger(call: Call, reference: Plan, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference.directory.path, run)
    (run / "config.yaml").write_text(json.dumps({"data": {"source": NAME}, "run": {"methods": ["ast"]}}))
    results = documents.content(run / "results.json")
    results["rows"][0]["set"] = results["rows"][0]["network"] = NAME
    (run / "results.json").write_text(json.dumps(results))
    (run / "distill" / "mtt").rename(run / "distill" / NAME.replace("/", ""))
    for words in (("info", str(run)), ("export", str(run), "--out", str(tmp_path / "out"), "--format", "npz")):
        told = call(*words)
        assert told.exit_code == 0, told.stderr
        assert "cat\\x1b[31m" in told.stdout
        assert "\x1b" not in told.output
        assert "\x9b" not in told.output


def test_commands_print_in_no_other_way() -> None:
    """rich's own console, and click's echo of anything but JSON and our own presets, are for `terminal` alone."""
    found = []
    for path in sorted(CLI.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node)
            plain = call.startswith("click.echo(") and not call.startswith("click.echo(json.dumps(")
            if plain or call.startswith(("Console(", "print(")):
                found.append((path.name, call))
    assert {name for name, _ in found} == {"terminal.py", "presets.py", "main.py", "submit.py", "streams.py"}
    assert len([call for name, call in found if name == "streams.py"]) == 1  # when standard output is full
    assert [call for name, call in found if name == "submit.py"] == ["click.echo(name)", "click.echo(text, nl=False)"]


def test_a_terminal_of_no_width_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    file = io.StringIO()
    terminal = Terminal(file=file)
    terminal.print("finished")
    terminal.print(Table("accuracy"))
    assert file.getvalue().startswith("finished\n")
    assert "accuracy" in file.getvalue()
