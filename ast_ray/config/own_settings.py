"""Settings of method mtt alone: ``run.mtt_settings`` holds ``NAME=VALUE`` of the sections expert and distill.

The other settings of a run are those of method ast, and mtt takes over what it does not switch off. With settings of
its own it can be repaired while what ast has done stays as it is, and the other way round.
"""

from __future__ import annotations

from ast_ray.config.loading import apply_overrides
from ast_ray.config.schema import aliases
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError, Problem

_SHARED = ("distill.ipc",)  # methods are compared at the same number of images


def own_names(config: Config) -> list[str]:
    """Return the full names of the settings that ``run.mtt_settings`` sets; unknown ones as they are."""
    names = [item.partition("=")[0].strip().replace("-", "_") for item in config.run.mtt_settings]
    return [aliases().get(name, name) for name in names]


def with_own_settings(config: Config) -> Config:
    """Return the settings of method mtt with those of its own.

    Raises:
        ConfigError: unknown names and unusable values.
    """
    problems, values = [], {}
    for item, name in zip(config.run.mtt_settings, own_names(config), strict=True):
        if "=" not in item:
            problems.append(Problem("run.mtt_settings", item, "expected NAME=VALUE, e.g. distill.student_lr=0.001"))
        elif name in aliases() and (not name.startswith(("expert.", "distill.")) or name in _SHARED):
            reason = f"{name} is the same for all methods; settings of expert and distill can differ, but distill.ipc"
            problems.append(Problem("run.mtt_settings", item, reason))
        elif name in values:
            problems.append(Problem("run.mtt_settings", item, f"names {name} twice"))
        else:
            values[name] = item.partition("=")[2].strip()
    try:
        changed = apply_overrides(config, values)
    except ConfigError as error:
        problems += [Problem("run.mtt_settings", f"{one.setting}={one.value}", one.reason) for one in error.problems]
    if problems:
        raise ConfigError(problems)
    return changed
