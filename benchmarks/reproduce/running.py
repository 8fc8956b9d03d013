"""Run one cell: its experts, its distillation, its networks. A plain resumable function; who calls it is an executor.

Experts, distilled sets and cells lie in folders named by what decides them: what two cells or two studies need is made
once, and what was cut goes on where it stopped. A cell is finished when its ``row.json`` is there.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ast_ray.config import Config, expert_identity, fingerprint, method_identity
from ast_ray.config.methods import method_info
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError, ResourceError
from ast_ray.stages.device import prepare_images, real_data, resolve_device
from ast_ray.stages.distillation.loop import DistillJob, distill, finished
from ast_ray.stages.evaluation.evaluate import EvaluationJob, evaluate
from ast_ray.stages.evaluation.rows import cache_key, real_set_identity
from ast_ray.stages.evaluation.rows import cells as groups
from ast_ray.stages.evaluation.training_sets import NEEDS_EXPERT, REAL_SETS
from ast_ray.stages.experts.train import ExpertJob, train_experts
from ast_ray.stages.run.pipeline import mean_expert
from ast_ray.storage.atomic import write_json
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.lock import exclusive
from ast_ray.storage.run_directory import EvaluationDirectory
from ast_ray.telemetry.progress import ProgressSink, Update
from benchmarks.reproduce.cells import Cell

# Distilled sets of all variants are evaluated on the same networks: the role names their random streams.
ROLE = "distilled"
_FAILURE = "diverged.json"  # in the folder of experts one of which diverged


@dataclass(frozen=True)
class CellJob:
    """One cell to run: its settings with their place, its work folder; picklable."""

    name: str
    config: Config
    expert_seed: int
    real: str
    fingerprint: str
    work: str
    only_experts: bool = False
    method: str = "ast"

    @classmethod
    def of(cls, cell: Cell, config: Config, work: Path) -> CellJob:
        """The job of a cell; ``config`` is the cell's with its place (`cells.with_place`)."""
        only = cell.variant.only_experts
        variant, seed = cell.variant, cell.expert_seed
        return cls(cell.key, config, seed, variant.real, cell.fingerprint, str(work), only, variant.method)

    @property
    def key(self) -> str:
        """Study, base, variant and seed."""
        return self.name

    @property
    def folder(self) -> Path:
        """Where its artefacts lie."""
        return Path(self.work) / "cells" / self.fingerprint

    @property
    def row(self) -> Path:
        """Written last: the cell is finished."""
        return self.folder / "row.json"

    @property
    def needs_experts(self) -> bool:
        """Random images and the full set need none, and neither do methods that match real images."""
        return self.real in NEEDS_EXPERT if self.real else method_info(self.method).needs_experts

    def data(self) -> RealData:
        """The real images, decoded once."""
        prepare_images(self.config.data)
        return real_data(self.config.data, resolve_device(self.config.compute))

    def buffer(self, data: RealData) -> Buffer:
        """The experts it looks at, shared by all cells with the same expert settings."""
        identity = expert_identity(dataclasses.replace(self.config, seed=self.expert_seed), data.data_id)
        return Buffer(Path(self.work) / "experts" / fingerprint(identity), identity, self.config.expert.count)


def finished_row(job: CellJob) -> dict[str, Any] | None:
    """What the cell gave, if it is finished; a damaged row counts as absent."""
    try:
        row = json.loads(job.row.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return row if isinstance(row, dict) else None


def expert_jobs(jobs: Sequence[CellJob]) -> list[ExpertJob]:
    """One job per expert that is missing, of all cells together."""
    found: dict[Path, ExpertJob] = {}
    for job in jobs:
        if not job.needs_experts or finished_row(job) is not None:
            continue
        buffer = job.buffer(job.data())
        buffer.prepare()
        config = dataclasses.replace(job.config, seed=job.expert_seed)
        for number in [] if _expert_failure(buffer) else buffer.missing():
            boards = buffer.folder.parent / "tensorboard" / buffer.fingerprint
            name = f"experts {buffer.fingerprint}"
            expert = ExpertJob(config, buffer, (number,), str(boards), name)
            found.setdefault(buffer.path(number), expert)
    return list(found.values())


def train_timed(job: ExpertJob, sink: ProgressSink) -> str:
    """Train one expert, one process at a time, and note how long it took beside the experts.

    An expert that diverges is noted too: no other is trained for its cells, and their rows say so.
    """
    (number,) = job.ids
    with exclusive(job.buffer.folder / f".lock-{number}", wait=True, owner=job.key):
        if job.buffer.has(number):
            return job.key
        with _timed(job.buffer.folder / f"time-{number:05d}.json"):
            try:
                train_experts(job, sink)
            except DivergenceError as error:
                write_json(job.buffer.folder / _FAILURE, {"diverged": str(error)})
                sink.say(f"{job.key}: {error}")
    return job.key


def _expert_failure(buffer: Buffer) -> str | None:
    try:
        return str(json.loads((buffer.folder / _FAILURE).read_text(encoding="utf-8"))["diverged"])
    except FileNotFoundError:
        return None


def run_cell(job: CellJob, sink: ProgressSink) -> dict[str, Any] | None:
    """Distil and evaluate one cell whose experts are there; return its row, or None while another process is at it.

    A distillation or network that diverges is a result: the row says so and has no accuracies.
    """
    row = finished_row(job)
    if row is not None:
        return row
    try:
        with exclusive(job.folder / ".lock", wait=False, owner=job.key):
            row = _measure(job, sink)
            write_json(job.row, row)
    except ResourceError as error:
        if "is at work" not in str(error):
            raise
        return None
    return row


def _measure(job: CellJob, sink: ProgressSink) -> dict[str, Any]:
    data = job.data()
    row: dict[str, Any] = {"data_id": data.data_id, "diverged": None, "accuracy": {}}
    if job.needs_experts:
        if failure := _expert_failure(job.buffer(data)):
            return row | {"diverged": failure}
        row["experts"] = _experts(job, data)
    if job.only_experts:
        return row
    times = job.folder / "times.json"
    try:
        if not job.real:
            row["distillation"] = _distilled(job, data, sink)
        with _timed(times):
            for found in _evaluated(job, data, sink):
                names = row["accuracy"].setdefault(found["network"], {})
                names.setdefault(found["protocol"], []).append(found["accuracy"])
    except DivergenceError as error:
        row |= {"diverged": str(error).partition("; last good")[0], "accuracy": {}}
    return row | {"evaluation": _read(times)}


def _experts(job: CellJob, data: RealData) -> dict[str, Any]:
    buffer = job.buffer(data)
    times = [_read(buffer.folder / f"time-{number:05d}.json") for number in range(buffer.count)]
    total = {name: sum(item[name] for item in times) for name in ("seconds", "cpu_seconds")} if all(times) else {}
    return {**mean_expert(buffer.summaries()), "seed": job.expert_seed, **total}


def distill_job(job: CellJob, data: RealData) -> DistillJob:
    """The cell's distillation, in a folder shared by all cells that evaluate this very set."""
    buffer = job.buffer(data)
    matched = method_info(job.method).needs_experts
    identity = method_identity(job.config, data.data_id, job.method) | (
        {"buffer": buffer.fingerprint} if matched else {}
    )
    folder = Path(job.work) / "distilled" / fingerprint(identity)
    places = (str(folder), str(folder / "tensorboard"))
    return DistillJob(job.method, job.config, buffer if matched else None, identity, *places, title=ROLE)


def _distilled(job: CellJob, data: RealData, sink: ProgressSink) -> dict[str, Any]:
    task = distill_job(job, data)
    folder = task.directory.path
    with exclusive(folder / ".lock", wait=True, owner=job.key):
        if not finished(task):
            with _timed(folder / "times.json"):
                distill(task, sink)
    outcome = json.loads(task.directory.outcome.read_text(encoding="utf-8"))
    names = ("iterations", "relative_loss", "student_lr", "validation_accuracy")
    return {**{name: outcome[name] for name in names}, **_read(folder / "times.json")}


def _evaluated(job: CellJob, data: RealData, sink: ProgressSink) -> Iterator[dict[str, Any]]:
    config, buffer = job.config, job.buffer(data)
    source = job.real or str(distill_job(job, data).directory.synthetic)
    if job.real in REAL_SETS:
        what, name = real_set_identity(job.real, config, data), job.real
    else:
        what, name = {"set": distill_job(job, data).identity}, ROLE
    networks = (config.evaluate.full_networks if job.real == "full" else 0) or config.evaluate.networks
    rows = EvaluationDirectory(job.folder / "evaluation")
    wanted = [(index, group) for group in groups(config, source) for index in range(networks)]
    for done, (index, (architecture, protocol)) in enumerate(wanted, start=1):
        token = cache_key(config, data.data_id, architecture, protocol, what)
        task = EvaluationJob(name, source, config, (index,), str(rows.path), token, buffer)
        yield from evaluate(dataclasses.replace(task, architecture=architecture, protocol=protocol), sink)
        sink.update(Update("evaluate", done, len(wanted)))


@contextmanager
def _timed(path: Path) -> Iterator[None]:
    """Add the block's time to a file's, also when it is cut and goes on later; on a GPU keep the highest memory too."""
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        before = _read(path)
        took = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        total = {name: before.get(name, 0.0) + value for name, value in took.items()}
        if gpu:
            total["gpu_mib"] = max(before.get("gpu_mib", 0.0), torch.cuda.max_memory_allocated() / 2**20)
        write_json(path, total)


def _read(path: Path) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found
