"""The experts a trial needs: which are missing, how one is trained and logged. Who trains which is decided above."""

from __future__ import annotations

import time
from typing import Any, TypedDict

from ast_ray.config.identity import fingerprint
from ast_ray.errors import StoreError
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.trial import ExpertCost, Trial
from ast_ray.stages.experts.train import ExpertJob, train_one_expert
from ast_ray.storage.containers.documents import parsed, sealed_line, unsealed
from ast_ray.storage.containers.opening import parsing, require_file
from ast_ray.storage.typed import Count, Number, checked
from ast_ray.telemetry.progress import ProgressSink


def train_for(trial: Trial, expert_id: int, sink: ProgressSink, cost: ExpertCost) -> None:
    """Train one expert of a trial's buffer and log what it cost."""
    began = time.monotonic()
    name = fingerprint(trial.experts)
    board = trial.search.tensorboard / "experts" / f"{name}-{expert_id:05d}"
    job = ExpertJob(trial.config, str(trial.buffer.folder), trial.experts, expert_id, str(board), f"experts {name[:8]}")
    train_one_expert(job, sink)
    seconds = time.monotonic() - began
    cost.trained += seconds
    _log(trial.search, {"buffer": name, "expert": expert_id, "trial": trial.name, "seconds": round(seconds, 3)})


def train_missing(trial: Trial, sink: ProgressSink, cost: ExpertCost) -> None:
    """Train every missing expert in this process: the provider without Ray."""
    buffer = trial.buffer
    buffer.prepare()
    for expert_id in buffer.missing():
        train_for(trial, expert_id, sink, cost)


def _log(search: SearchDirectory, row: dict[str, Any]) -> None:
    """Append one line; short appends of several processes do not mix."""
    search.path.mkdir(parents=True, exist_ok=True)
    with search.expert_log.open("a", encoding="utf-8") as file:
        file.write(sealed_line(row))


class ExpertRow(TypedDict):
    """An expert trained in a search: its buffer, its number, the trial that trained it, the seconds it took."""

    buffer: str
    expert: Count
    trial: str
    seconds: Number


def expert_costs(search: SearchDirectory) -> list[ExpertRow]:
    """Return one row per expert trained in this search; a half-written last line is left out.

    Raises:
        StoreError: a damaged line.
    """
    if not search.expert_log.exists():
        return []
    require_file(search.expert_log, StoreError)
    rows = []
    for number, line in enumerate(search.expert_log.read_bytes().split(b"\n")[:-1], 1):
        with parsing(search.expert_log, StoreError, told=f"damaged in line {number}", hint="delete the line"):
            rows.append(checked(unsealed(parsed(line)), ExpertRow))
    return rows
