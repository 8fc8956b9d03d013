"""The trainable of Ray Tune, around `search.trial`. A killed trial resumes from its own folder, whatever Tune kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from ray import tune

from ast_ray.config.identity import fingerprint
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError
from ast_ray.ray_backend.progress import BoardSink
from ast_ray.ray_backend.tune.expert_leases import SharedExperts
from ast_ray.ray_backend.tune.sampling import SpaceSampler
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.record import INVALID, Rung, TrialRecord
from ast_ray.search.trial import plan_trial, run_trial


@dataclass(frozen=True)
class SearchContext:
    """The context that every trial of a search needs besides its sample."""

    base: Config
    data_id: str
    directory: SearchDirectory
    draws: SpaceSampler
    keeper: Any
    sink: BoardSink


def metrics_of(name: str, rung: Rung, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A rung as Tune gets it."""
    return {**asdict(rung), "trial": name, "overrides": dict(overrides)}


def search_trial(config: dict[str, Any], context: SearchContext) -> None:
    """Run one trial and report its rungs."""
    overrides = context.draws.overrides(config)
    try:
        trial = plan_trial(context.base, overrides, context.data_id, context.directory)
    except ConfigError as error:
        report_invalid(context.directory, overrides, error)
        return
    with closing(run_trial(trial, experts_for(context), context.sink)) as rungs:
        for rung in rungs:
            tune.report(metrics_of(trial.name, rung, overrides))


def experts_for(context: SearchContext) -> SharedExperts:
    """The provider of experts, in the name of this trial."""
    return SharedExperts(context.keeper, str(tune.get_context().get_trial_id()))


def invalid_name(overrides: Mapping[str, Any]) -> str:
    """The folder of a sample that has no identity."""
    return f"invalid-{fingerprint({key: str(value) for key, value in overrides.items()})}"


def report_invalid(directory: SearchDirectory, overrides: Mapping[str, Any], error: ConfigError) -> None:
    """Record a sample that is no configuration at all (values computed by ``tune.sample_from``)."""
    name = invalid_name(overrides)
    shown = {key: str(value) for key, value in overrides.items()}
    record = TrialRecord.open(directory.trial(name), name, shown, "")
    record.end(INVALID, str(error))
    tune.report(metrics_of(name, record.last(), shown))
