"""Find search spaces by name or path, without Ray, which takes seconds to load."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import tune_spaces
from ast_ray.config.files import file_problem
from ast_ray.errors import ConfigError, Problem, suggestion


def space_names() -> list[str]:
    """The spaces installed with the package."""
    return sorted(item.name for item in pkgutil.iter_modules(tune_spaces.__path__) if not item.name.startswith("_"))


def find_space(name: str) -> Path:
    """The module of a space, by its name or its path.

    Raises:
        ConfigError: no such space.
    """
    if name in space_names():
        return Path(tune_spaces.__path__[0]) / f"{name}.py"
    path = Path(name).expanduser()
    if path.suffix != ".py":
        raise ConfigError(
            [Problem("tune.space", name, f"unknown space{suggestion(name, space_names())} (or a .py file)")]
        )
    if problem := file_problem(path):
        raise ConfigError([Problem("tune.space", name, problem)])
    return path
