from __future__ import annotations

import io

import pytest
from rich.console import Console

from ast_ray.cli import display as module
from ast_ray.cli.display import Display, results_table, scores_table
from ast_ray.telemetry.failure import Failure
from ast_ray.telemetry.progress import Update


def plain() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=80), stream


def test_messages_are_printed_literally_and_unbroken() -> None:
    console, stream = plain()
    message = f"lost [/tmp/x] of [bold]{'a/' * 100}"
    with Display(console) as display:
        display.say(message)
    assert stream.getvalue() == message + "\n"


def test_without_a_terminal_a_line_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    console, stream = plain()
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with Display(console) as display:
        for done in range(1, 101):
            now += 1.0
            display.update(Update("distill ast", done, 100, "loss 0.5"))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "distill ast: 11/100, 89 s left  loss 0.5"
    assert lines[-1] == "distill ast: 100/100  loss 0.5"


def test_minutes_left(monkeypatch: pytest.MonkeyPatch) -> None:
    console, stream = plain()
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    display = Display(console)
    display.update(Update("a", 0, 100))
    now = 60.0
    display.update(Update("a", 10, 100))
    assert stream.getvalue().startswith("a: 10/100, 9 min left")  # 90 units at 6 s each


def test_quiet_shows_messages_only() -> None:
    console, stream = plain()
    with Display(console, quiet=True) as display:
        display.update(Update("a", 1, 1))
        display.say("a warning")
    assert stream.getvalue() == "a warning\n"


def test_bars_on_a_terminal() -> None:
    stream = io.StringIO()
    with Display(Console(file=stream, width=120, force_terminal=True)) as display:
        display.update(Update("ast expert 0", 3, 20, "accuracy 50.0%"))
    assert "ast expert 0" in stream.getvalue()
    assert "3/20" in stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_of_what_failed_goes_and_what_comes_late_does_not_bring_it_back(terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=terminal)
    with Display(console) as display:
        display.update(Update("distill mtt", 1, 300, "loss 0.9"))
        display.update(Update("distill ast", 2, 300, "loss 0.8"))
        display.update(Update("distill mtt", 0, 0, "failed", failed=True))
        display.update(Update("distill mtt", 2, 300, "loss 0.9"))
        display.update(Update("distill mtt", 300, 300, "loss 0.9"))
    shown = {task.description for task in display._bars.tasks if task.visible}
    assert shown == ({"distill ast"} if terminal else set())
    assert "300/300" not in stream.getvalue()


def test_what_failed_stands_in_the_table_with_its_reason() -> None:
    console, stream = plain()
    failure = Failure("mtt", "distillation", "DivergenceError", "alpha would become -[0.003]", "lower it", True, 2)
    row = {"set": "ast", "network": "convnet", "images": 10, "protocol": "strict", "mean": 0.5, "std": None, "n": 1}
    console.print(results_table([row], [failure.row()]))
    lines = stream.getvalue().splitlines()
    place = next(number for number, line in enumerate(lines) if "MTT: failed, iteration 2" in line)
    assert "├" in lines[place - 1]
    assert "AST" in lines[place - 2]
    assert "alpha would become -[0.003]" in " ".join(" ".join(lines[place:]).replace("│", " ").split())


def test_the_table_gives_percent_with_deviation_and_number() -> None:
    console, stream = plain()
    common = {"network": "convnet", "images": 10, "protocol": "strict"}
    console.print(
        results_table(
            [
                {**common, "set": "ast", "mean": 0.9123, "std": 0.0101, "n": 5},
                {**common, "set": "mine", "mean": 0.5, "std": None, "n": 1},
            ]
        )
    )
    text = stream.getvalue()
    assert "AST" in text
    assert "91.2 ± 1.0" in text
    assert "mine" in text
    assert "50.0 │" in text


def test_the_full_set_says_how_long_it_was_trained() -> None:
    console, stream = plain()
    common = {"network": "convnet", "images": 10, "protocol": "strict", "mean": 0.5, "std": None, "n": 1}
    console.print(results_table([{**common, "set": "full", "steps": 1002}, {**common, "set": "ast", "steps": 5}]))
    text = stream.getvalue()
    assert "full data, 1002 steps" in text
    assert "5 steps" not in text
    console.print(results_table([{**common, "set": "full"}]))  # a row made before steps were recorded


def test_protocols_and_scores_show_where_there_are_any() -> None:
    console, stream = plain()
    common = {"set": "ast", "network": "vgg11", "images": 10, "mean": 0.9, "std": 0.01, "n": 3}
    scored = {**common, "protocol": "strict", "ior": 0.123, "hlr": -0.05, "lrs": 0.3054}
    rows = [scored, {**common, "protocol": "peak"}]
    console.print(results_table(rows))
    console.print(scores_table(rows))
    text = " ".join(stream.getvalue().split())
    assert "peak* best pass on the test set: for comparison with published tables only" in text
    assert "strict protocol" not in text
    for said in ("IOR %", "HLR %", "LRS", "12.3", "-5.0", "0.305"):
        assert said in text
    assert scores_table(rows[1:]) is None


def test_rows_of_sets_with_soft_labels_are_marked() -> None:
    console, stream = plain()
    common = {"network": "convnet", "images": 10, "protocol": "strict", "mean": 0.5, "std": None, "n": 1, "ior": 0.1}
    soft, hard = {**common, "set": "ast", "targets": "soft"}, {**common, "set": "mtt", "targets": "hard"}
    for table in (results_table, scores_table):
        console.print(table([soft, {**common, "set": "random"}]))
        text = " ".join(stream.getvalue().split())
        assert "AST† " in text
        assert "random real images " in text
        assert "† soft labels: the set has them, and networks are trained on them" in text
        assert "‡" not in text
        stream.truncate(0)
        stream.seek(0)
    console.print(results_table([hard]))
    assert "MTT‡" in stream.getvalue()
    stream.truncate(0)
    stream.seek(0)
    console.print(results_table([{**common, "set": "ast"}]))
    assert "soft" not in stream.getvalue()
