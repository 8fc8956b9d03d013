"""Read a run directory without changing it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ast_ray.errors import counted
from ast_ray.storage.folder import Folder
from ast_ray.storage.records.results import read_results
from ast_ray.storage.records.settings import read_settings
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.storage.trajectory import read_metadata
from ast_ray.storage.trajectory import read_metrics as read_expert
from ast_ray.telemetry.failure import read_failure, run_failures
from ast_ray.telemetry.metrics import read_metrics
from ast_ray.telemetry.outcome import damage, read_outcome


def describe_run(path: Path) -> dict[str, Any]:
    """Return settings, experts, distillations and results of a run directory.

    Raises:
        StoreError: not a run directory, or a damaged expert or outcome.
    """
    directory = RunDirectory(path)
    directory.require_run()
    config, results = read_settings(directory.config), read_results(directory.results)
    failed = run_failures(directory, config.run.methods, results.get("failed", []) if results else [])
    methods = {method: _method(directory, method, config.distill.iterations) for method in config.run.methods}
    experts = directory.expert_files()
    return {
        "run": str(directory),
        "preset": config.preset,
        "seed": config.seed,
        "data": config.data.source,
        "config": directory.shown(directory.config),
        "buffers": [
            _buffer(Folder(folder), list(files)) for folder, files in groupby(experts, lambda file: file.parent)
        ],
        "methods": {method: state for method, (state, _) in methods.items()},
        "rows": results["rows"] if results else [],
        "verdicts": results.get("verdicts", []) if results else [],
        "failed": [failure.row() for failure in failed],
        "finished": results is not None and not failed and all(whole for _, whole in methods.values()),
    }


def _buffer(folder: Folder, files: Sequence[Path]) -> dict[str, Any]:
    metrics = [read_expert(file) for file in files]
    moves = [sum(curve["move"][1:]) / len(curve["move"][1:]) for curve in metrics]
    accuracies = [curve["validation_accuracy"][-1] for curve in metrics]
    return {
        "fingerprint": folder.path.name,
        "experts": len(files),
        "epochs": read_metadata(files[0])["epochs"],
        "avg_var": sum(moves) / len(moves),
        "validation_accuracy": sum(accuracies) / len(accuracies),
        "bytes": sum(map(folder.size, files)),
    }


def _method(directory: RunDirectory, method: str, iterations: int) -> tuple[str, bool]:
    """Describe the state of one distillation, and return whether it is finished."""
    place = directory.method(method)
    outcome = read_outcome(place)
    if outcome is not None:
        found = (
            f"{counted(outcome['iterations'], 'iteration')}, best validation accuracy "
            f"{outcome['validation_accuracy']:.1%} at {outcome['best_iteration']}, alpha {outcome['student_lr']:.4g}"
        )
        broken = damage(place, outcome)
        if not broken:
            return f"finished, {found}", True
        source = "from the checkpoint" if place.checkpoint.exists() else "from the start, since the checkpoint is gone"
        return f"{found}, but {broken}: the same command makes it again {source}", False
    if (record := read_failure(place)) is not None:
        return record.failure.what, False
    rows = read_metrics(place.metrics)
    return f"iteration {rows[-1]['iteration']} of {iterations}" if rows else "not started", False
