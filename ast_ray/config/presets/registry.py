"""Presets by name, and the settings of each method of a run."""

from __future__ import annotations

from collections.abc import Callable

from ast_ray.config.datasets import DATASETS, DatasetFacts
from ast_ray.config.identity import trained
from ast_ray.config.methods import method_info
from ast_ray.config.own_settings import with_own_settings
from ast_ray.config.presets.demo import cifar10_cpu, digits
from ast_ray.config.presets.peers import peer_presets
from ast_ray.config.presets.published import published_presets
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError, Problem, suggestion

PRESETS: dict[str, Callable[[], Config]] = {
    "digits": digits,
    "cifar10-cpu": cifar10_cpu,
    **published_presets(),
    **peer_presets(),
}


def preset(name: str) -> Config:
    """Return a preset's configuration.

    Raises:
        ConfigError: unknown name; says the nearest, or where all are listed.
    """
    if name not in PRESETS:
        hint = suggestion(name, PRESETS) or f"; `ast-ray presets list` shows all {len(PRESETS)}"
        raise ConfigError([Problem("preset", name, f"unknown preset{hint}")])
    return PRESETS[name]()


def method_config(config: Config, method: str) -> Config:
    """Return the settings of one method of a run (`config.methods`): ``ast`` as given, others with switches turned.

    ``mtt`` has settings of its own besides (``run.mtt_settings``). ``expert.epochs`` is what is trained
    (`config.identity`).
    """
    settings = method_info(method).settings(config)
    return trained(with_own_settings(settings) if method == "mtt" else settings)


def facts_of_preset(config: Config) -> DatasetFacts:
    """Return the facts about the dataset of a preset."""
    return DATASETS[config.data.subset or config.data.source]
