"""A search from its settings to its results: check everything, open Ray, trials, final stage, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console

from ast_ray.cli.display import Display
from ast_ray.cli.search_display import SearchDisplay
from ast_ray.cli.session import check_device
from ast_ray.config.settings import Config
from ast_ray.core.rng import stream_seed
from ast_ray.data.real import RealData
from ast_ray.errors import ConfigError, Problem, TaskError, counted
from ast_ray.ray_backend.session import Capacity, ray_session
from ast_ray.ray_backend.tune.sampling import SpaceSampler
from ast_ray.ray_backend.tune.search import prepare, search
from ast_ray.ray_backend.tune.spaces import Space
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.final import final_stage, winner
from ast_ray.search.importance import Importance, importance
from ast_ray.search.open import open_search
from ast_ray.search.plots import plot_convergence, plot_importance, plot_parallel
from ast_ray.search.record import FINISHED, STOPPED, TrialRecord, read_records
from ast_ray.search.results import (
    best_records,
    candidates,
    describe_endings,
    summary,
    trial_rows,
    write_best,
    write_trials,
)
from ast_ray.stages.device import real_data
from ast_ray.stages.evaluation.verdicts import small_splits
from ast_ray.stages.run.preflight import check_apart
from ast_ray.storage.claim import claimed
from ast_ray.storage.containers.documents import write_document


def run_search(
    config: Config,
    space: Space,
    directory: SearchDirectory,
    command: Sequence[str],
    console: Console,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Run or go on with a search; return what ``results.json`` holds.

    Raises:
        ConfigError: settings or space cannot work, told before anything starts; TaskError: no trial got anywhere.
    """
    if config.compute.backend == "serial":
        raise ConfigError([Problem("compute.backend", "serial", "a search runs on Ray; use ray")])
    check_device(config)
    check_apart(config, directory.path)
    draws = prepare(config, space)
    data = real_data(config.data, torch.device("cpu"))
    with claimed(directory.lock, "another search", command), ExitStack() as stack:
        open_search(config, data, directory, space.source, command)
        capacity = stack.enter_context(ray_session(config.compute))
        with SearchDisplay(console, total=total_trials(config, draws), quiet=quiet) as display:
            for line in small_splits(len(data.validation_labels), len(data.test_labels)):
                display.say(line)
            spent = search(config, data.data_id, draws, directory, capacity, display)
        found = report_search(config, directory, list(space.param_space))
        final, chosen = _final(config, data, directory, capacity, console, quiet=quiet)
    results = {
        "search": summary(config, directory),
        "session": {**asdict(spent), "outside": spent.outside},
        "importance": [asdict(item) for item in found],
        "final": final,
        "chosen": chosen,
        "best_config": str(directory.best),
        "run": str(directory.path),
    }
    write_document(directory.results, results)
    return results


def total_trials(config: Config, draws: SpaceSampler) -> int:
    """Trials of the whole search."""
    return draws.grid_size() if config.tune.searcher == "grid" else config.tune.trials


def report_search(config: Config, directory: SearchDirectory, searched: Sequence[str]) -> list[Importance]:
    """Write table, plots and the best configuration so far; return the importances.

    Raises:
        TaskError: every trial broke; names the first reason.
    """
    objective = config.tune.objective
    records = read_records(directory.trials)
    usable = [record for record in records if record.status in (FINISHED, STOPPED)]
    rows = trial_rows(records, objective)
    write_trials(directory, rows)
    if not usable:
        raise TaskError(f"no trial got anywhere: {describe_endings(records)}; first reason: {_first_reason(records)}")
    names = sorted({name for record in records for name in record.overrides})
    compared = [row for row in rows if row["status"] in (FINISHED, STOPPED)]
    found = importance(compared, names, "objective", seed=stream_seed(config.seed, "tune", "importance"))
    plot_importance(directory.picture("importance"), found, len(compared))
    plot_parallel(directory.picture("parallel"), rows, names, objective)
    plot_convergence(directory.picture("convergence"), rows, objective)
    best = best_records(records, objective, 1)[0]
    write_best(config, best.overrides, _how(best, objective), directory)
    return found


def _first_reason(records: Sequence[TrialRecord]) -> str:
    return next((record.reason.splitlines()[0] for record in records if record.reason), "none given")


def _how(record: TrialRecord, objective: str) -> str:
    return f"best trial of the search, {objective} {record.objective(objective):.4f}, trial {record.fingerprint}"


def _final(
    config: Config,
    data: RealData,
    directory: SearchDirectory,
    capacity: Capacity,
    console: Console,
    *,
    quiet: bool,
) -> tuple[list[dict[str, Any]], str]:
    """The final stage, unless it is switched off; its winner replaces the search's best configuration."""
    if not config.tune.final_configs:
        return [], ""
    from ast_ray.ray_backend.executor import RayExecutor

    chosen = candidates(config, read_records(directory.trials), config.tune.final_configs)
    with Display(console, quiet=quiet) as display:
        executor = RayExecutor(capacity, display, max_attempts=config.compute.max_attempts)
        rows = final_stage(config, data, chosen, directory, executor, display)
    best: Mapping[str, Any] | None = winner(rows)
    if best is None:
        return rows, ""
    how = (
        f"{best['name']}: best mean validation accuracy over {counted(len(best['seeds']), 'fresh seed')} "
        f"({best['validation_mean']:.4f}); test {best['test_mean']:.4f}, n = {best['n']}"
    )
    write_best(config, best["overrides"], how, directory)
    return rows, str(best["name"])
