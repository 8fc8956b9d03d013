"""The settings that a file from elsewhere may decide, and those that are the user's alone (docs/security.md).

A set or a run directory says what was computed. Where and with what work runs here comes from the command line, from a
preset or from a configuration file that the user names, and else from the defaults.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast_ray.config.datasets import NAMED_SOURCES
from ast_ray.config.loading import apply_overrides, from_dict
from ast_ray.config.methods import METHODS, others_sections
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError, Problem

_SECTIONS, _OF_DATA = ("compute", "tune"), ("root", "download", "placement")


def computed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of nested settings that says what is computed: without where, with what and how it was found."""
    kept = {name: value for name, value in values.items() if name not in _SECTIONS}
    if isinstance(data := kept.get("data"), Mapping):
        kept["data"] = {name: value for name, value in data.items() if name not in _OF_DATA}
    return kept


def published(values: Mapping[str, Any], method: str = "") -> dict[str, Any]:
    """Return the `computed` part as a set of a method carries it to other people.

    Images named by a path keep its last part; sections of other methods are left out, where the method is a known one.
    """
    others = others_sections(method) if method in METHODS else set()
    kept = {name: value for name, value in computed(values).items() if name not in others}
    if isinstance(data := kept.get("data"), Mapping) and isinstance(source := data.get("source"), str):
        kept["data"] = {**data, "source": source if source in NAMED_SOURCES else Path(source).name or "images"}
    return kept


def from_elsewhere(values: object, given: Mapping[str, object]) -> Config:
    """Build the configuration of a set or a run directory, with the settings ``given`` by the user over it.

    Only the `computed` part of ``values`` counts, without methods that are not known here. A dataset that the file
    names and the user does not is downloaded only where the user asks for it (``data.download``).

    Raises:
        ConfigError: unknown or unusable settings.
    """
    if not isinstance(values, Mapping):
        raise ConfigError([Problem("config", type(values).__name__, "holds no settings")])
    theirs, ours = from_dict(_known_methods(computed(values))), Config()
    mine: dict[str, Any] = {name: getattr(ours.data, name) for name in _OF_DATA}
    if "data.source" not in given:
        mine["download"] = False
    # Set back and not only left out: a setting may stand in the file under a short name.
    data = dataclasses.replace(theirs.data, **mine)
    return apply_overrides(dataclasses.replace(theirs, compute=ours.compute, tune=ours.tune, data=data), given)


def _known_methods(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out methods that are not known here, which are another person's own (`config.own_methods`).

    Their sets are images as others are, and what a run compared decides nothing of it. Where none is left the default
    stands.
    """
    run = values.get("run")
    if not isinstance(run, Mapping) or not isinstance(names := run.get("methods"), list | tuple):
        return values
    if known := [name for name in names if name in METHODS]:
        return {**values, "run": {**run, "methods": known}}
    return {**values, "run": {name: value for name, value in run.items() if name != "methods" or not names}}


def check_source(config: Config, given: Mapping[str, object]) -> None:
    """Refuse images that a file from elsewhere names by a path: that is read only where the user names it.

    Raises:
        ConfigError: says which option names it.
    """
    source = config.data.source
    if "data.source" in given or source in NAMED_SOURCES:
        return
    reason = (
        "the path of these images stands in a file of the set or run, and is not read on its word; "
        f"name it yourself: --source {shlex.quote(source)}"
    )
    raise ConfigError([Problem("data.source", source, reason)])
