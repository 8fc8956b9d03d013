"""What a person sees: progress bars with time left, messages, tables. Goes to stderr; results go to stdout."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ast_ray.signals import check
from ast_ray.telemetry.progress import Update

_PLAIN_INTERVAL = 10.0


class Display:
    """A progress sink: bars on a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._printed: dict[str, float] = {}

    def update(self, update: Update) -> None:
        """Move a job's bar; without a terminal print a line now and then."""
        check()
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


_TITLES = {
    "random": "random real images",
    "representative": "representative real images",
    "mtt": "MTT",
    "ast": "AST",
    "full": "full data",
    "herding": "herding real images",
    "k-centre": "k-centre real images",
    "forgetting": "most forgotten real images",
}
_PEAK = "peak*"
# Key of a result row, column title, factor.
_SCORES = (("ior", "IOR %", 100), ("hlr", "HLR %", 100), ("lrs", "LRS", 1), ("ars", "ARS", 1))


def results_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The final table: test accuracy as mean ± std with n."""
    several = any(row["protocol"] != "strict" for row in rows)
    title = "test accuracy, whole test set" if several else "test accuracy, strict protocol (last pass, whole test set)"
    peak = any(row["protocol"] == "peak" for row in rows)
    caption = f"{_PEAK} best pass on the test set: for comparison with published tables only" if peak else None
    table = Table(title=title, caption=caption)
    table.add_column("set")
    table.add_column("images", justify="right")
    table.add_column("network")
    if several:
        table.add_column("protocol")
    for name in ("accuracy %", "n"):
        table.add_column(name, justify="right")
    for row in rows:
        spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
        cells = [_TITLES.get(row["set"], row["set"]), str(row["images"]), row["network"]]
        cells += [_PEAK if row["protocol"] == "peak" else row["protocol"]] if several else []
        table.add_row(*cells, f"{100 * row['mean']:.1f}{spread}", str(row["n"]))
    return table


def scores_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """DD-Ranking's scores of the sets that have them, or None."""
    scored = [row for row in rows if any(key in row for key, _, _ in _SCORES)]
    if not scored:
        return None
    table = Table(title="DD-Ranking: beyond random images, short of the full set")
    table.add_column("set")
    table.add_column("network")
    for _, name, _ in _SCORES:
        table.add_column(name, justify="right")
    for row in scored:
        values = (_score(row.get(key), factor) for key, _, factor in _SCORES)
        table.add_row(_TITLES.get(row["set"], row["set"]), row["network"], *values)
    return table


def _score(value: float | None, factor: int) -> str:
    return "" if value is None else f"{factor * value:.1f}" if factor != 1 else f"{value:.3f}"
