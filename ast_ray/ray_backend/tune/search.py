"""One search: Tune's loop around the trials, from the settings to how long it took."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray import tune

from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError
from ast_ray.ray_backend.progress import BoardSink, forward, open_board
from ast_ray.ray_backend.session import Capacity
from ast_ray.ray_backend.tune.algorithms import MODE, check_algorithms, expected_trials, scheduler, searcher
from ast_ray.ray_backend.tune.callback import Watcher
from ast_ray.ray_backend.tune.expert_leases import open_buffers
from ast_ray.ray_backend.tune.population import member_name, population_trial
from ast_ray.ray_backend.tune.sampling import SpaceSampler
from ast_ray.ray_backend.tune.spaces import Space, check_space, ended_by_space
from ast_ray.ray_backend.tune.trainable import SearchContext, invalid_name, search_trial
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.progress import SearchSink
from ast_ray.search.record import read_records
from ast_ray.search.trial import plan_trial
from ast_ray.signals import interruption

_EXPERIMENT = "search"


@dataclass(frozen=True)
class SearchTime:
    """Wall seconds of this session's trials and what the slots did meanwhile."""

    wall: float
    slots: int
    busy: float

    @property
    def outside(self) -> float:
        """Share of the slots' time that no trial used: start-up, hand-over, and the end with idle slots."""
        return max(0.0, 1 - self.busy / (self.slots * self.wall)) if self.wall else 0.0


def prepare(config: Config, space: Space) -> SpaceSampler:
    """Check space, searcher and scheduler, before Ray is started.

    Raises:
        ConfigError: everything that is wrong with them.
    """
    draws = SpaceSampler(check_space(space, config), config)
    check_algorithms(config, draws)
    return draws


def search(
    config: Config, data_id: str, draws: SpaceSampler, directory: SearchDirectory, capacity: Capacity, sink: SearchSink
) -> SearchTime:
    """Run the trials that are not done yet; records are in the directory afterwards. Use inside `ray_session`.

    Raises:
        ConfigError: a function of the space ends the process.
        KeyboardInterrupt: Tune was interrupted; it swallows the signal and returns as if all were well.
    """
    slots = min(capacity.slots, config.tune.concurrency or capacity.slots)
    algorithm, space, samples = searcher(config, draws, directory, slots)
    expected = expected_trials(config, draws, samples)
    if not expected:
        return SearchTime(0.0, slots, 0.0)
    board, keeper = open_board(), open_buffers()
    context = SearchContext(config, data_id, directory, draws, keeper, BoardSink(board))
    watcher = Watcher(directory, sink, board, keeper, partial(_identify, context))
    before, began = _busy(directory), time.monotonic()
    try:
        tuner = _tuner(config, context, algorithm, space, samples, slots, capacity, watcher)
        try:
            tuner.fit()
        except SystemExit as end:  # of a function in tune.sample_from
            raise ended_by_space(config.tune.space, end) from None
        forward(board, sink)
    finally:
        ray.kill(board)
        ray.kill(keeper)
    wall = time.monotonic() - began
    if watcher.ended < expected:
        raise interruption()
    return SearchTime(wall, slots, _busy(directory) - before)


def _tuner(
    config: Config,
    context: SearchContext,
    algorithm: Any,
    space: dict[str, Any] | None,
    samples: int,
    slots: int,
    capacity: Capacity,
    watcher: Watcher,
) -> tune.Tuner:
    function = population_trial if config.tune.scheduler == "pbt" else search_trial
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    resources = {"cpu": capacity.cpus, **({"gpu": capacity.gpus} if capacity.gpus else {})}
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(function, context=context), resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=config.tune.objective,
            mode=MODE,
            num_samples=samples,
            max_concurrent_trials=slots,
            reuse_actors=True,
            search_alg=algorithm,
            scheduler=scheduler(config, context.draws),
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=f"{_EXPERIMENT}-{time.time_ns()}",
            storage_path=str(context.directory.tune),
            verbose=0,
            callbacks=[watcher],
            failure_config=tune.FailureConfig(max_failures=max(0, config.compute.max_attempts - 1)),
        ),
    )


def _identify(context: SearchContext, trial: Any) -> tuple[str, dict[str, Any]]:
    """The folder and the settings behind Tune's trial."""
    overrides = context.draws.overrides(trial.config)
    if context.base.tune.scheduler == "pbt":
        return member_name(int(trial.trial_id.rpartition("_")[2])), overrides
    try:
        return plan_trial(context.base, overrides, context.data_id, context.directory).name, overrides
    except ConfigError:
        return invalid_name(overrides), overrides


def _trial_name(trial: Any) -> str:
    return f"trial-{trial.trial_id}"


def _busy(directory: SearchDirectory) -> float:
    """Seconds that trials have worked, trained experts or waited for some."""
    return sum(record.seconds for record in read_records(directory.trials))
