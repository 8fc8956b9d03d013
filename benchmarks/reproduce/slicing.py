"""Cells in slices of a few minutes, in one process without Ray, for a machine lent for one command at a time.

A slice stops after its time: at an expert's next epoch, a distillation's next checkpoint, the next network. What it
made stays in the work folder, and the next slice goes on from there with the same results as one long run. Experts are
trained no further than matching can look. What is worth taking home (rows, sets, metrics, pictures) is copied into
``out`` at the end of every slice; the rows are added to the results file at home with
``python -m benchmarks.reproduce merge``.
"""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ast_ray.stages.distillation.loop import DistillJob, finished
from ast_ray.stages.executor import Job, SerialExecutor
from ast_ray.storage.atomic import write_json
from ast_ray.telemetry.progress import ProgressSink, Update
from benchmarks.reproduce.cells import Cell, cells_of
from benchmarks.reproduce.driving import Lines, Place, missing, run_cells
from benchmarks.reproduce.running import distill_job

J = TypeVar("J", bound=Job)
R = TypeVar("R")
ARCHIVE = 15 * 2**20
_DONE = ("outcome.json", "synthetic.safetensors", "synthetic.json", "synthetic.png", "metrics.jsonl")
_RUNNING = ("checkpoint.safetensors", "metrics.jsonl")
UNFINISHED = 75  # exit code: run the same command again (EX_TEMPFAIL)


class SliceOver(Exception):  # noqa: N818 - not an error
    """The slice's time is up; everything up to here is on disk."""


class Clock:
    """When the slice ends."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Stop the slice where it is safe to."""
        if time.monotonic() >= self._end:
            raise SliceOver


class SliceSink:
    """Passes progress on and ends the slice after an expert's epoch, a distillation's checkpoint, or a network."""

    def __init__(self, inner: ProgressSink, clock: Clock, checkpoint_every: int) -> None:
        self._inner, self._clock, self._every = inner, clock, checkpoint_every

    def update(self, update: Update) -> None:
        """Each reports after what it did is on disk."""
        self._inner.update(update)
        between = update.key.startswith("distill") and update.done % self._every
        if not between and update.done < update.total:
            self._clock.check()

    def say(self, message: str) -> None:
        """Pass it on."""
        self._inner.say(message)


class SliceExecutor(SerialExecutor):
    """One job after the other, none begun once the slice is over."""

    def __init__(self, sink: ProgressSink, clock: Clock) -> None:
        super().__init__(sink)
        self._clock = clock

    def run(
        self, function: Callable[[J, ProgressSink], R], jobs: Sequence[J], *, long_lived: bool = True
    ) -> Iterator[R]:
        """See `Executor.run`."""
        for job in jobs:
            self._clock.check()
            yield from super().run(function, [job], long_lived=long_lived)


def run_slice(
    studies: Sequence[str],
    place: Place,
    *,
    scale: str,
    bases: Sequence[str],
    variants: Sequence[str],
    seeds: Sequence[int],
    seconds: float,
    out: Path,
) -> int:
    """Run one slice; return 0 when every cell has its row, `UNFINISHED` when the same command has to be run again."""
    cells = cells_of(studies, scale, seeds, bases=bases, variants=variants, reachable=True)
    place = replace(place, checkpoint_seconds=0)  # an expert's epoch that ended is never trained again
    lines, clock = Lines(verbose=True), Clock(seconds)
    every = place.job(cells[0]).config.distill.checkpoint_every
    sink = SliceSink(lines, clock, every)
    try:
        run_cells(cells, place, SliceExecutor(sink, clock), sink, at_once=1)
    except SliceOver:
        lines.say("the slice is over; run the same command again")
    left = missing(cells, place.results)
    _take_home(cells, place, out, len(left))
    return UNFINISHED if left else 0


def _take_home(cells: Sequence[Cell], place: Place, out: Path, left: int) -> None:
    """Copy rows, and the sets of distillations, into three files: ``cells.jsonl``, ``sets.zip``, ``slice.json``.

    A finished distillation brings its set, picture, metrics and outcome, a running one its checkpoint. What would make
    the archive larger than `ARCHIVE` stays, and is named.
    """
    out.mkdir(parents=True, exist_ok=True)
    if place.results.exists():
        shutil.copyfile(place.results, out / "cells.jsonl")
    state, room = {}, ARCHIVE
    with zipfile.ZipFile(out / "sets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, task in _distillations(cells, place).items():
            done = finished(task)
            files = [folder / name for name in (_DONE if done else _RUNNING) if (folder / name).exists()]
            size = sum(file.stat().st_size for file in files)
            state[folder.name] = {"finished": done, "files": [file.name for file in files], "taken": size <= room}
            if size <= room:
                room -= size
                for file in files:
                    archive.write(file, f"{folder.name}/{file.name}")
    write_json(out / "slice.json", {"cells": len(cells), "left": left, "distilled": state})
    print(json.dumps({"cells": len(cells), "left": left}))


def _distillations(cells: Sequence[Cell], place: Place) -> dict[Path, DistillJob]:
    """Distillations by their folders; cells that share one count once."""
    found = {}
    for cell in cells:
        job = place.job(cell)
        if not job.real and not job.only_experts:
            task = distill_job(job, job.data())
            found[task.directory.path] = task
    return found
