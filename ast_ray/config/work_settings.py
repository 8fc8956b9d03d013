"""Settings of the work: where it runs and which configurations a search tries, never what one of them computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ast_ray.config.field import setting
from ast_ray.config.methods import METHODS


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """The place of the work. Nothing here changes what is computed, so nothing here is fingerprinted."""

    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto = cuda where there is one")
    backend: Literal["ray", "serial"] = setting("ray", "ray, or one process without Ray")
    address: str = setting("", "address of a running Ray cluster (auto, host:port); empty = start Ray here")
    workers: int = setting(0, "expert and evaluation workers; 0 = as many as the resources allow", low=0, high=10_000)
    cpus_per_task: float = setting(1.0, "CPUs reserved per task", above=0, high=1024)
    gpus_per_task: float = setting(
        0.0,
        "GPUs reserved per task, fractions allowed; 0 = one where the cluster has GPUs and device is not cpu",
        low=0,
        high=1024,
    )
    threads: int = setting(1, "torch threads per task (part of what makes bits reproducible)", low=1, high=1024)
    experts_together: int = setting(
        0, "experts trained at once by one task; 0 = as many as fit on a GPU, at most 8; one on a CPU", low=0, high=1024
    )
    networks_together: int = setting(
        0,
        "networks of a validation, and of a set in the final evaluation, trained at once by one task; "
        "0 = up to 8 on a GPU, one on a CPU",
        low=0,
        high=1024,
    )
    placement: Literal["pack", "spread"] = setting(
        "pack", "where workers start: on machines in use first, or over as many machines as there are"
    )
    distill_workers: int = setting(
        0, "workers that share a distillation's segments; 0 = one per segment, where there is room", low=0, high=1024
    )
    max_attempts: int = setting(3, "attempts per task when its worker is lost", low=1)
    checkpoint_seconds: float = setting(
        5.0, "seconds between two savings of an unfinished expert's epochs; 0 = after every epoch", low=0
    )
    store: str = setting(
        "", "folder, s3:// or gs:// address of experts shared by several runs; empty = inside the run directory"
    )


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """The search of `ast-ray tune`. Decides which configurations are tried, never what one of them computes."""

    space: str = setting("ast_core", "search space: a name from tune_spaces, or a path of a Python module")
    method: str = setting("ast", "method that the search varies", choices=METHODS)
    trials: int = setting(24, "configurations tried (grid: all of them)", low=1)
    searcher: Literal["random", "grid", "optuna"] = setting(
        "random", "where configurations come from; optuna = TPE (extra: optuna)"
    )
    scheduler: Literal["asha", "fifo", "pbt"] = setting(
        "asha", "asha stops the worse part at each rung, fifo runs all to the end, pbt copies and perturbs the best"
    )
    objective: Literal["validation_accuracy", "best_validation_accuracy"] = setting(
        "validation_accuracy", "accuracy on the validation split of the set as it stands, or of the best so far"
    )
    budget: int = setting(0, "distillation iterations of a trial that is not stopped; 0 = distill.iterations", low=0)
    grace: int = setting(0, "iterations before the first rung; 0 = an eighth of the budget", low=0)
    reduction_factor: float = setting(3.0, "asha keeps one in this many at each rung", symbol="eta", above=1)
    report_every: int = setting(0, "iterations between a trial's reports, each a validation; 0 = grace", low=0)
    concurrency: int = setting(0, "trials at once; 0 = as many as the resources allow", low=0, high=10_000)
    buffers: int = setting(0, "distinct expert settings drawn from the space; 0 = no limit", low=0)
    start_with_preset: bool = setting(True, "try the settings the search starts from first, where the space holds them")
    final_configs: int = setting(3, "best configurations distilled again at full length; 0 = no final stage", low=0)
    final_seeds: int = setting(3, "fresh seeds per configuration of the final stage", low=1)
