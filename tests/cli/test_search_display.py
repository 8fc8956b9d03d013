from __future__ import annotations

from io import StringIO

from rich.console import Console

from ast_ray.cli.search_display import SearchDisplay, final_table, short_settings
from ast_ray.search.progress import TrialRow
from ast_ray.telemetry.progress import Update

SETTINGS = {"distill.rho": 0.012345, "distill.beta_strategy": "equal"}


def console(*, terminal: bool = False) -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, width=120, force_terminal=terminal, color_system=None), text


def test_without_a_terminal_each_trial_that_ends_is_a_line() -> None:
    shown, text = console()
    with SearchDisplay(shown, total=3) as display:
        display.trial(TrialRow(0, "a", "running", SETTINGS))
        display.trial(TrialRow(0, "a", "running", SETTINGS, 40, 0.5))
        display.trial(TrialRow(0, "a", "stopped", SETTINGS, 40, 0.5))
        display.trial(TrialRow(0, "a", "stopped", SETTINGS, 40, 0.5))
        display.trial(TrialRow(1, "b", "diverged", SETTINGS, 7, 0.0, "alpha would become -1\nmore"))
        display.update(Update("distill trial c", 3, 80))
    first, second = text.getvalue().splitlines()
    assert first.startswith("trial 0 stopped at iteration 40, validation 50.0%, rho=0.0123 beta_strategy=equal (1/3")
    assert second.startswith("trial 1 diverged at iteration 7: alpha would become -1, rho")


def test_on_a_terminal_a_table_is_drawn() -> None:
    shown, text = console(terminal=True)
    with SearchDisplay(shown, total=3) as display:
        display.trial(TrialRow(0, "a", "running", SETTINGS, 40, 0.5))
        display.update(Update("distill trial a", 41, 80))
    assert "rho=0.0123 beta_strategy=equal" in text.getvalue()
    assert "distill trial a 41/80" in text.getvalue()


def test_quiet_is_quiet() -> None:
    shown, text = console(terminal=True)
    with SearchDisplay(shown, total=1, quiet=True) as display:
        display.trial(TrialRow(0, "a", "finished", SETTINGS, 40, 0.5))
        display.say("hello")
    assert text.getvalue() == ""


def test_the_final_table_has_mean_spread_and_gap() -> None:
    row = {
        "name": "best-1",
        "overrides": SETTINGS,
        "search_estimate": 0.9,
        "validation_mean": 0.85,
        "test_mean": 0.8,
        "test_std": 0.012,
        "n": 6,
        "estimate_minus_test": 0.1,
    }
    lost = {**row, "name": "best-2", "test_mean": None, "test_std": None, "estimate_minus_test": None, "n": 0}
    shown, text = console()
    shown.print(final_table([row, lost], "best-1"))
    line = next(line for line in text.getvalue().splitlines() if "best-1 *" in line)
    assert [part.strip() for part in line.split("│")[1:-1]] == ["best-1 *", "90.0", "85.0", "80.0 ± 1.2", "6", "+10.0"]
    assert "diverged" in text.getvalue()


def test_settings_in_a_line() -> None:
    assert short_settings({"a.b": 1.23456, "c": "x", "d.e": True}) == "b=1.23 c=x e=True"
