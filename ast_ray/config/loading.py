"""From names and YAML to a `Config`, and back. Collects every problem before it raises."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast_ray.config.address import local_path
from ast_ray.config.files import reason
from ast_ray.config.schema import aliases, schema
from ast_ray.config.settings import Config
from ast_ray.config.yaml_reader import read_yaml, write_yaml
from ast_ray.errors import ConfigError, Problem, suggestion


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as nested plain values, ready for JSON or YAML."""

    def plain(value: object, path: str) -> object:
        if isinstance(value, dict):
            return {key: plain(item, f"{path}.{key}" if path else key) for key, item in value.items()}
        if type(value) is int and schema()[path].kind is float:
            return float(value)  # 100 and 100.0 are the same setting and must have the same fingerprint
        return list(value) if isinstance(value, tuple) else value

    result = plain(dataclasses.asdict(config), "")
    assert isinstance(result, dict)
    return result


def to_yaml(config: Config) -> str:
    """Return the configuration as YAML that `load_yaml` reads back to an equal value."""
    return write_yaml(to_dict(config))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Turn nested sections into ``section.field`` names.

    Raises:
        ConfigError: one setting in two spellings, ``section.field`` and ``section: {field: ...}``.
    """
    flat: dict[str, object] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        inside = flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
        if twice := flat.keys() & inside.keys():
            raise ConfigError([Problem(name, inside[name], _twice(name, flat[name])) for name in sorted(twice)])
        flat.update(inside)
    return flat


def _twice(name: str, other: object) -> str:
    return f"is given twice, as {name} = {other!r} too; keep one"


def apply_overrides(config: Config, values: Mapping[str, object]) -> Config:
    """Return a copy with settings replaced by name (dashes or underscores, full path or unique last part).

    Raises:
        ConfigError: all unknown names and unusable values at once, each with the nearest valid one.
    """
    problems: list[Problem] = []
    changes: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        path = aliases().get(name.replace("-", "_"))
        if path is None:
            problems.append(Problem(name, value, f"unknown setting{_nearest_setting(name)}"))
            continue
        try:
            parsed = schema()[path].parse(value)
        except ValueError as error:
            problems.append(Problem(path, value, str(error)))
            continue
        section, _, leaf = path.rpartition(".")
        changes.setdefault(section, {})[leaf] = parsed
    if problems:
        raise ConfigError(problems)
    top = dict(changes.pop("", {}))
    for section, leaves in changes.items():
        top[section] = dataclasses.replace(getattr(config, section), **leaves)
    return dataclasses.replace(config, **top)  # type: ignore[arg-type]


def _nearest_setting(name: str) -> str:
    wanted = name.replace("-", "_").lower()
    leaf = wanted.rpartition(".")[2]
    same_leaf = [path for path in schema() if path.rpartition(".")[2] == leaf]
    if same_leaf:
        return f"; did you mean {' or '.join(repr(path) for path in same_leaf)}?"
    return suggestion(wanted, aliases()) or suggestion(leaf, aliases())


def from_dict(values: Mapping[str, Any], base: Config | None = None) -> Config:
    """Build a configuration from nested values over ``base`` (default: the defaults).

    Raises:
        ConfigError: as `apply_overrides`, and for settings that are given under two names.
    """
    flat, names = flatten(values), dict[str, str]()
    for name in flat:
        path = aliases().get(name.replace("-", "_"), name)
        if (other := names.setdefault(path, name)) != name:
            raise ConfigError([Problem(path, flat[name], _twice(other, flat[other]))])
    return apply_overrides(base or Config(), flat)


def load_yaml(path: str | Path, base: Config | None = None) -> Config:
    """Read a configuration file (full or partial).

    Raises:
        ConfigError: the file is missing, is not YAML, or holds unknown or unusable settings.
    """
    return from_dict(read_settings(path), base)


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read nested sections of values from a file.

    Raises:
        ConfigError: the file is missing, is not a regular file, is not YAML, or holds no sections of values.
    """

    def refused(reason: str) -> ConfigError:
        return ConfigError([Problem("config", str(path), reason)])

    file = local_path(str(path), "config")
    try:
        values = read_yaml(file)
    except OSError as error:
        raise refused(f"cannot be read: {reason(error)}") from None
    except ValueError as error:
        raise refused(str(error)) from None
    if not isinstance(values, dict) or not _named(values):
        raise refused("holds no settings (expected section: {name: value})")
    return values


def _named(values: object) -> bool:
    """Tell whether every key in nested mappings is text."""
    if not isinstance(values, dict):
        return True
    return all(isinstance(key, str) and _named(value) for key, value in values.items())
