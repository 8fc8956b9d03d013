"""Searchers and schedulers by the names of the settings.

Resuming needs nothing from Ray Tune's own state, which is pickled and always some seconds behind: random search and
grids propose the same configurations from the same seed, those that are done return at once, and TPE is told the
results on disk.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.search.searcher import Searcher

from ast_ray.config.settings import Config
from ast_ray.core.rng import stream_seed
from ast_ray.errors import ConfigError, Problem
from ast_ray.ray_backend.tune.population import MUTABLE, Clamp, members, mutations
from ast_ray.ray_backend.tune.sampling import SpaceSampler
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.record import FINAL, TrialRecord, read_records
from ast_ray.search.trial import trial_budget

TIME, MODE = "iteration", "max"


def check_algorithms(config: Config, draws: SpaceSampler) -> None:
    """Refuse what the chosen searcher and scheduler cannot do.

    Raises:
        ConfigError: Optuna is not installed, or the space leaves population based training nothing to perturb.
    """
    if config.tune.searcher == "optuna" and importlib.util.find_spec("optuna") is None:
        reason = "Optuna is not installed; pip install 'ast-ray[optuna]'"
        raise ConfigError([Problem("tune.searcher", "optuna", reason)])
    if config.tune.scheduler == "pbt" and not mutations(draws.space):
        names = ", ".join(path.removeprefix("distill.") for path in MUTABLE)
        reason = f"the space has none of the settings it can perturb: {names}"
        raise ConfigError([Problem("tune.scheduler", "pbt", reason)])


def scheduler(config: Config, draws: SpaceSampler) -> TrialScheduler:
    """The scheduler of the settings; time is counted in distillation iterations."""
    budget, grace, every = trial_budget(config)
    if config.tune.scheduler == "asha":
        return ASHAScheduler(
            time_attr=TIME, max_t=budget, grace_period=grace, reduction_factor=config.tune.reduction_factor
        )
    if config.tune.scheduler == "pbt":
        changing = mutations(draws.space)
        return PopulationBasedTraining(
            time_attr=TIME,
            perturbation_interval=max(every, grace),
            hyperparam_mutations=changing,
            custom_explore_fn=Clamp(changing),
        )
    return FIFOScheduler()


def searcher(
    config: Config, draws: SpaceSampler, directory: SearchDirectory, concurrency: int
) -> tuple[SearchAlgorithm | Searcher, dict[str, Any] | None, int]:
    """Return (search algorithm, what Tune has to sample, number of samples left to take)."""
    seed = stream_seed(config.seed, "tune", "samples") % 2**32
    preset = draws.preset_sample() if config.tune.start_with_preset else None
    if config.tune.searcher == "optuna":
        return _optuna(config, draws, read_records(directory.trials), preset, seed)
    points = [preset] if preset is not None and config.tune.searcher == "random" else []
    if config.tune.scheduler == "pbt":
        found = [draws.sample_of(record.overrides, strict=False) for record in members(directory)]
        points = [point for point in found if point is not None] or points
    generator = BasicVariantGenerator(
        points_to_evaluate=points or None, max_concurrent=concurrency, random_state=np.random.RandomState(seed)
    )
    samples = 1 if config.tune.searcher == "grid" else config.tune.trials
    return generator, draws.space, samples


def expected_trials(config: Config, draws: SpaceSampler, samples: int) -> int:
    """Return the number of trials that Tune will run."""
    return draws.grid_size() if config.tune.searcher == "grid" else samples


def _optuna(
    config: Config, draws: SpaceSampler, records: list[TrialRecord], preset: dict[str, Any] | None, seed: int
) -> tuple[Searcher, None, int]:
    """TPE over the space, told of every trial that ended; those that were interrupted come first."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ended = [record for record in records if record.status in FINAL]
    running = [draws.sample_of(record.overrides) for record in records if record.status not in FINAL]
    points = [point for point in running if point is not None]
    if preset is not None and not records:
        points = [preset]
    search = OptunaSearch(
        space=OptunaSearch.convert_search_space(draws.space),
        metric=config.tune.objective,
        mode=MODE,
        points_to_evaluate=points or None,
        seed=(seed + len(ended)) % 2**32,
    )
    for record in ended:
        sample = draws.sample_of(record.overrides)
        if sample is not None:
            search.add_evaluated_point(sample, record.objective(config.tune.objective))
    return search, None, max(0, config.tune.trials - len(ended))
