"""Progress bars with time left, messages and tables, on stderr; results go to stdout."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ast_ray.config.printable import one_line
from ast_ray.config.titles import SCORES, row_title, score_text, set_title, soft_notes
from ast_ray.errors import counted
from ast_ray.signals import check
from ast_ray.telemetry.failure import Failure
from ast_ray.telemetry.progress import Update

_PLAIN_INTERVAL = 10.0


class Display:
    """A progress sink: bars on a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._printed: dict[str, float] = {}
        self._failed: set[str] = set()

    def update(self, update: Update) -> None:
        """Move a job's bar, or take it away when the job failed; without a terminal print a line now and then."""
        check()
        update = replace(update, key=one_line(update.key), note=one_line(update.note))
        if update.failed or update.key in self._failed:  # what a worker posted before may come after
            self._failed.add(update.key)
            if update.key in self._tasks:
                self._bars.update(self._tasks[update.key], visible=False)
            return
        if self._console.is_terminal:
            if update.key not in self._tasks:
                self._tasks[update.key] = self._bars.add_task(update.key, total=update.total, note="")
            self._bars.update(self._tasks[update.key], completed=update.done, note=update.note)
            if update.done >= update.total:
                self._bars.update(self._tasks[update.key], visible=update.total > 1 and len(self._tasks) < 12)
            return
        now = time.monotonic()
        since, first = self._began.setdefault(update.key, (now, update.done))
        finished = update.done >= update.total
        if self._quiet or (not finished and now - self._printed.get(update.key, since) < _PLAIN_INTERVAL):
            return
        self._printed[update.key] = now
        self._console.print(
            f"{update.key}: {update.done}/{update.total}{_left(update, now - since, first)}  {update.note}",
            markup=False,
            soft_wrap=True,
        )

    def say(self, message: str) -> None:
        """Print a sentence."""
        self._console.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def show(self, lines: Iterable[str]) -> None:
        """Print lines as they are."""
        for line in lines:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def _left(update: Update, elapsed: float, first: int) -> str:
    if update.done <= first or update.done >= update.total:
        return ""
    seconds = elapsed / (update.done - first) * (update.total - update.done)
    return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"


_PEAK = "peak*"


def results_table(rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]] = ()) -> Table:
    """The final table: test accuracy as mean ± std with n; what failed stands below, with its reason."""
    several = any(row["protocol"] != "strict" for row in rows)
    title = "test accuracy, whole test set" if several else "test accuracy, strict protocol (last pass, whole test set)"
    peak = any(row["protocol"] == "peak" for row in rows)
    notes = [f"{_PEAK} best pass on the test set: for comparison with published tables only"] if peak else []
    table = Table(title=title, caption="\n".join((*notes, *soft_notes(rows))) or None)
    table.add_column("set")
    table.add_column("images", justify="right")
    table.add_column("network")
    if several:
        table.add_column("protocol")
    for name in ("accuracy %", "n"):
        table.add_column(name, justify="right")
    for row in rows:
        spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
        cells = [one_line(_set(row)), str(row["images"]), one_line(str(row["network"]))]
        cells += [_PEAK if row["protocol"] == "peak" else row["protocol"]] if several else []
        table.add_row(*cells, f"{100 * row['mean']:.1f}{spread}", str(row["n"]))
    table.add_section()
    for failure in map(Failure.of_row, failed):
        table.add_row(Text(one_line(f"{set_title(failure.set_name)}: {failure.what}")))
    return table


def _set(row: Mapping[str, Any]) -> str:
    """The set's title and mark; the full set with the steps that its networks took."""
    return row_title(row) + (f", {counted(row['steps'], 'step')}" if row["set"] == "full" and row.get("steps") else "")


def show_verdicts(console: Console, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Print one sentence per verdict."""
    for verdict in verdicts:
        console.print(verdict["text"], highlight=False, markup=False, soft_wrap=True)


def scores_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """DD-Ranking's scores of the sets that have them, or None."""
    scored = [row for row in rows if any(key in row for key, _, _ in SCORES)]
    if not scored:
        return None
    notes = soft_notes(scored)
    table = Table(title="DD-Ranking: beyond random images, short of the full set", caption="\n".join(notes) or None)
    table.add_column("set")
    table.add_column("network")
    for _, name, _ in SCORES:
        table.add_column(name, justify="right")
    for row in scored:
        values = (score_text(row.get(key), factor) for key, _, factor in SCORES)
        table.add_row(one_line(row_title(row)), one_line(str(row["network"])), *values)
    return table
