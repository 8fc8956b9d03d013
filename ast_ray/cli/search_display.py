"""The display of a search: a live table on a terminal, lines elsewhere, and the tables at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ast_ray.config.printable import printable
from ast_ray.search.progress import TrialRow
from ast_ray.search.record import BROKEN, FINAL, RUNNING
from ast_ray.telemetry.progress import Update

_SHOWN = 14
_INTERVAL = 15.0
_FRESH = 8.0


class SearchDisplay:
    """A search sink: a table that is redrawn, or a line per trial that ends and a heartbeat."""

    def __init__(self, console: Console, *, total: int, quiet: bool = False) -> None:
        self._console = console
        self._total = total
        self._quiet = quiet
        self._rows: dict[int, TrialRow] = {}
        self._work: dict[str, tuple[Update, float]] = {}
        self._began, self._printed = time.monotonic(), time.monotonic()
        live = console.is_terminal and not quiet
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2) if live else None

    def trial(self, row: TrialRow) -> None:
        """Take a trial's news."""
        before = self._rows.get(row.number)
        if before is not None and before.overrides and not row.overrides:
            row = TrialRow(
                row.number, before.name, row.status, before.overrides, before.iteration, before.accuracy, row.note
            )
        self._rows[row.number] = row
        if (
            self._live is None
            and not self._quiet
            and row.status in FINAL
            and (before is None or before.status != row.status)
        ):
            self._console.print(f"{_sentence(row)} ({self._progress()})", highlight=False, soft_wrap=True)
            self._printed = time.monotonic()

    def update(self, update: Update) -> None:
        """Take a worker's progress; without a terminal say now and then how far the search is."""
        now = time.monotonic()
        self._work[update.key] = (update, now)
        if self._live is None and not self._quiet and now - self._printed > _INTERVAL:
            self._printed = now
            self._console.print(f"{self._progress()}; {self._at_work(now)}", highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """Print a sentence."""
        if not self._quiet:
            self._console.print(message, style="yellow", highlight=False, markup=False)

    def __enter__(self) -> SearchDisplay:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _progress(self) -> str:
        ended = sum(row.status in FINAL for row in self._rows.values())
        best = max((row.accuracy or 0.0 for row in self._rows.values() if row.status not in BROKEN), default=0.0)
        return f"{ended}/{self._total} trials, best validation {best:.1%}, {time.monotonic() - self._began:.0f} s"

    def _at_work(self, now: float) -> str:
        fresh = [update for update, seen in self._work.values() if now - seen < _FRESH and update.done < update.total]
        return ", ".join(f"{update.key} {update.done}/{update.total}" for update in fresh)

    def _render(self) -> Group:
        table = Table(title=self._progress())
        for name in ("trial", "status", "iteration", "validation %", "settings"):
            table.add_column(name, justify="right" if name in ("trial", "iteration", "validation %") else "left")
        running = [row for row in self._rows.values() if row.status == RUNNING]
        ended = [row for row in self._rows.values() if row.status != RUNNING]
        best = sorted(ended, key=lambda row: -(row.accuracy or 0.0))
        for row in [*running, *best][:_SHOWN]:
            accuracy = "" if row.accuracy is None else f"{100 * row.accuracy:.1f}"
            table.add_row(str(row.number), row.status, str(row.iteration), accuracy, short_settings(row.overrides))
        return Group(table, Text(printable(self._at_work(time.monotonic()))))


def short_settings(overrides: Mapping[str, Any]) -> str:
    """Hyperparameters in a line, by the last part of their names."""
    parts = []
    for name, value in overrides.items():
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(f"{name.rpartition('.')[2]}={shown}")
    return " ".join(parts)


def _sentence(row: TrialRow) -> str:
    accuracy = "" if row.accuracy is None or row.status in BROKEN else f", validation {row.accuracy:.1%}"
    note = f": {row.note.splitlines()[0]}" if row.status in BROKEN and row.note else ""
    settings = short_settings(row.overrides)
    return f"trial {row.number} {row.status} at iteration {row.iteration}{accuracy}{note}, {settings}"


def final_table(rows: Sequence[Mapping[str, Any]], chosen: str) -> Table:
    """The final stage: test accuracy beside the search's estimate."""
    table = Table(title="final stage: full length, fresh seeds, strict protocol on the whole test set")
    names = ("configuration", "estimate %", "validation %", "test %", "n", "estimate - test")
    for name in names:
        table.add_column(name, justify="left" if name == "configuration" else "right")
    for row in rows:
        spread = "" if row["test_std"] is None else f" ± {100 * row['test_std']:.1f}"
        test = "diverged" if row["test_mean"] is None else f"{100 * row['test_mean']:.1f}{spread}"
        mark = " *" if row["name"] == chosen else ""
        cells = [row["name"] + mark, _percent(row["search_estimate"]), _percent(row["validation_mean"]), test]
        gap = "" if row["estimate_minus_test"] is None else f"{100 * row['estimate_minus_test']:+.1f}"
        table.add_row(*cells, str(row["n"]), gap)
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
