"""ray.tune domains against settings: is each value it can give one the setting can take?"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer, Quantized

from ast_ray.config.schema import Setting

GRID = "grid_search"


def is_grid(domain: object) -> bool:
    """Return whether this is ``tune.grid_search([...])``."""
    return isinstance(domain, dict) and set(domain) == {GRID}


def problem_of(setting: Setting, domain: object, searcher: str) -> str:
    """Say what is wrong with a domain for a setting under a searcher; empty when nothing is."""
    if is_grid(domain):
        assert isinstance(domain, dict)
        if searcher != "grid":
            return "tune.grid_search needs tune.searcher = grid; use tune.choice"
        return _values(setting, domain[GRID])
    if isinstance(domain, Categorical):
        return _values(setting, domain.categories)
    if isinstance(domain, Function):
        return "" if searcher == "random" else "tune.sample_from needs tune.searcher = random"
    if isinstance(domain, Float | Integer):
        if searcher == "grid":
            return "a grid needs tune.grid_search or tune.choice"
        return _range(setting, domain)
    if isinstance(domain, Domain | dict | set):
        return f"expected a ray.tune domain or a value, got {type(domain).__name__}"
    return _values(setting, [domain])


def _values(setting: Setting, values: list[Any]) -> str:
    for value in values:
        if isinstance(value, str) and (setting.kind is not str or setting.is_list):
            return f"{value!r} is text; {_wanted(setting)}"
        if setting.kind is bool and not isinstance(value, bool):
            return f"{value!r}: {_wanted(setting)}"
        try:
            setting.parse(value)
        except ValueError as error:
            return f"{value!r}: {error}"
    return "" if values else "an empty list of values"


def _wanted(setting: Setting) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return f"{setting.path} is {names[setting.kind]}"


def _range(setting: Setting, domain: Float | Integer) -> str:
    if setting.kind not in (int, float) or setting.is_list:
        return f"a range of numbers, but {_wanted(setting)}; use tune.choice"
    if setting.kind is int and isinstance(domain, Float):
        return f"a range of real numbers, but {_wanted(setting)}; use tune.randint"
    last = domain.upper - 1 if isinstance(domain, Integer) and not _quantized(domain) else domain.upper
    if last < domain.lower:
        ends = f"from {domain.lower:g} to {domain.upper:g}"
        return f"holds nothing {ends}, without its upper end" if last == domain.lower - 1 else f"runs down {ends}"
    for end in (domain.lower, last):
        try:
            setting.parse(end)
        except ValueError as error:
            return f"{end:g}: {error}"
    return ""


def _quantized(domain: Domain) -> bool:
    return isinstance(domain.get_sampler(), Quantized)


def draw(space: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """One configuration of a space, for a look at it; values that depend on others are left out."""
    values: dict[str, Any] = {}
    picker, generator = random.Random(seed), np.random.default_rng(seed)
    for path, domain in space.items():
        if is_grid(domain):
            values[path] = picker.choice(domain[GRID])
        elif isinstance(domain, Function):
            continue
        elif isinstance(domain, Domain):
            values[path] = plain(domain.sample(random_state=generator))
        else:
            values[path] = domain
    return values


def function_problem(setting: Setting, function: Function, others: Mapping[str, Any]) -> str:
    """Call a ``tune.sample_from`` once; say what is wrong with it, or with what it gives. Empty when nothing is."""
    try:
        value = plain(function.sample(config=dict(others)))
    except (Exception, SystemExit) as error:  # the user's own code
        return f"sample_from raises {type(error).__name__}: {error}"
    return _values(setting, [value])


def plain(value: object) -> object:
    """A numpy number as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def holds(domain: object, value: object) -> bool:
    """Return whether a value lies in a domain."""
    if is_grid(domain):
        assert isinstance(domain, dict)
        return value in domain[GRID]
    if isinstance(domain, Function):
        return False
    if isinstance(domain, Domain):
        return bool(domain.is_valid(value))
    return domain == value
