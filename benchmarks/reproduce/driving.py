"""Run many cells over an executor: experts first, then cells, each finished one appended to the results file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ast_ray.stages.executor import Executor
from ast_ray.telemetry.progress import ProgressSink, Update
from benchmarks.reproduce.cells import Cell, with_place
from benchmarks.reproduce.results import append_row, cell_identity, identity, provenance, read_rows, row_of
from benchmarks.reproduce.running import CellJob, expert_jobs, finished_row, run_cell, train_timed


@dataclass(frozen=True)
class Place:
    """Where a command reads, works and writes: images, cache, device, work folder, results file."""

    sources: Mapping[str, str]
    root: str
    work: Path
    results: Path
    device: str = "auto"
    threads: int = 1
    commit: str = ""
    checkpoint_seconds: float = 5.0

    def job(self, cell: Cell) -> CellJob:
        """The job of a cell at this place; a dataset without a source of its own is opened by name."""
        config = cell.config
        source = self.sources.get(config.data.source, "")
        config = with_place(
            config,
            source=source,
            root=self.root,
            device=self.device,
            threads=self.threads,
            checkpoint_seconds=self.checkpoint_seconds,
        )
        return CellJob.of(cell, config, self.work)


class Lines:
    """Progress as lines on stderr: messages, and every tenth of a long job when ``verbose``."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._shown: dict[str, int] = {}

    def update(self, update: Update) -> None:
        """Print when another tenth is done."""
        tenth = 10 * update.done // max(1, update.total)
        if self._verbose and self._shown.get(update.key, 0) < tenth:
            self._shown[update.key] = tenth
            self.say(f"{update.key}: {update.done} of {update.total} {update.note}")

    def say(self, message: str) -> None:
        """Print."""
        print(message, file=sys.stderr, flush=True)


def missing(cells: Sequence[Cell], results: Path) -> list[Cell]:
    """Cells whose row is not in the results file."""
    known = {identity(row) for row in read_rows(results)}
    return [cell for cell in cells if cell_identity(cell) not in known]


def run_cells(
    cells: Sequence[Cell], place: Place, executor: Executor, sink: ProgressSink, *, seconds: float = 0, at_once: int = 0
) -> int:
    """Run what is missing, ``at_once`` cells per round (0 = all), and return how many rows were added.

    ``seconds``: no round is begun after that many (0 = no limit), so another command can take its turn.
    """
    began, added = time.monotonic(), 0
    todo = missing(cells, place.results)
    size = at_once or max(1, len(todo))
    for start in range(0, len(todo), size):
        if seconds and time.monotonic() - began > seconds:
            break
        added += _round(todo[start : start + size], place, executor, sink)
    return added


def _round(cells: Sequence[Cell], place: Place, executor: Executor, sink: ProgressSink) -> int:
    waiting: dict[str, list[Cell]] = {}
    for cell in missing(cells, place.results):
        waiting.setdefault(cell.fingerprint, []).append(cell)
    jobs = {key: place.job(asking[0]) for key, asking in waiting.items()}
    for _ in executor.run(train_timed, expert_jobs(list(jobs.values()))):
        pass
    about, added = provenance(place.commit), 0
    for _ in executor.run(run_cell, list(jobs.values())):
        for key in [key for key in waiting if finished_row(jobs[key]) is not None]:
            added += _publish(waiting.pop(key), jobs[key], place, about, sink)
    return added


def _publish(asking: Sequence[Cell], job: CellJob, place: Place, about: dict[str, object], sink: ProgressSink) -> int:
    measured = finished_row(job)
    assert measured is not None
    for cell in asking:
        append_row(place.results, row_of(cell, measured, {**about, "networks": job.config.evaluate.networks}))
        said = measured["diverged"] or _said(measured["accuracy"])
        sink.say(f"{cell.key}: {said}")
    return len(asking)


def _said(accuracy: dict[str, dict[str, list[float]]]) -> str:
    parts = []
    for network, protocols in accuracy.items():
        for protocol, values in protocols.items():
            parts.append(f"{network} {protocol} {100 * sum(values) / len(values):.1f} %")
    return ", ".join(parts)
