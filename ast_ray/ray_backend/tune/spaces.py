"""Search spaces: find the module, read it, and refuse everything that cannot work before anything starts."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ray.tune.search.sample import Function

from ast_ray.config.checks import problems_of, unused_settings
from ast_ray.config.files import reason
from ast_ray.config.loading import apply_overrides
from ast_ray.config.methods import METHODS, method_info
from ast_ray.config.schema import aliases, schema
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError, Problem, suggestion
from ast_ray.ray_backend.tune.domains import draw, function_problem, problem_of
from ast_ray.ray_backend.tune.space_files import find_space, space_names
from ast_ray.search.trial import canonicalize

# What a search may not touch: the protocol and the budget, which make trials comparable, and bookkeeping.
_FIXED = {
    "distill.iterations": "the budget is tune.budget",
    "distill.validate_every": "the budget is tune.budget, reports are tune.report_every",
    "distill.validate_networks": "it is part of the objective",
    "distill.checkpoint_every": "it changes no result",
    "distill.log_every": "it changes no result",
    "distill.gradient": "it changes no result, but for direct, which is another method",
    "distill.engine": "it changes no more than rounding",
    "expert.expert_engine": "it changes no more than rounding",
}
_TRIES, _FEW = 64, 8
_KNOWN = ("param_space", "settings")


@dataclass(frozen=True)
class Space:
    """A module's search space: setting path -> domain or constant, and settings it brings along."""

    name: str
    doc: str
    source: str
    param_space: Mapping[str, Any]
    settings: Mapping[str, Any]


def load_space(name: str) -> Space:
    """Read a space by name or path.

    Raises:
        ConfigError: no such space, or a module that cannot be read as one.
    """
    path = find_space(name)
    source = _text(name, path)
    module = _execute(name, path)
    space = getattr(module, "param_space", None)
    if not isinstance(space, dict) or not space:
        reason = "the module has no param_space = {setting: ray.tune domain}"
        close = [item for item in vars(module) if not item.startswith("_")]
        raise ConfigError([Problem("tune.space", name, reason + suggestion("param_space", close))])
    settings = getattr(module, "settings", {})
    if not isinstance(settings, dict):
        raise ConfigError([Problem("tune.space", name, "settings has to be a dictionary {setting: value}")])
    doc = inspect.getdoc(module) or ""
    return Space(path.stem if name not in space_names() else name, doc, source, space, settings)


def _text(name: str, path: Path) -> str:
    """The module's text, which a search keeps."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("tune.space", name, f"cannot be read as UTF-8 ({reason(error)})")]) from None


def _execute(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SystemExit as end:
        raise ended_by_space(name, end) from None
    except Exception as error:  # the user's own code: whatever it raises is an error of the space
        reason = f"cannot be imported ({type(error).__name__}: {error})"
        raise ConfigError([Problem("tune.space", name, reason)]) from error
    return module


def ended_by_space(name: str, end: SystemExit) -> ConfigError:
    """The error of a space whose code ends the process: its exit code, 0 perhaps, would pass for the search's."""
    reason = f"its code ends the process (sys.exit, code {end.code}); a space only says what is searched"
    return ConfigError([Problem("tune.space", name, reason)])


def check_space(space: Space, config: Config) -> dict[str, Any]:
    """Return the space keyed by full setting names, every entry checked against the setting it is for.

    Raises:
        ConfigError: all unknown names, settings a search may not touch, domains of the wrong type or out of bounds,
            and a space in which no draw is a valid configuration.
    """
    problems: list[Problem] = []
    checked: dict[str, Any] = {}
    for key, domain in space.param_space.items():
        path = aliases().get(str(key).replace("-", "_"))
        if path is None:
            problems.append(_unknown(space, key))
        elif reason := _FIXED.get(path) or _outside(path, config.tune.method):
            problems.append(Problem(path, _short(domain), f"not for a search: {reason}"))
        elif problem := problem_of(schema()[path], domain, config.tune.searcher):
            problems.append(Problem(path, _short(domain), problem))
        elif path in checked:
            problems.append(Problem(path, _short(domain), "is in the space twice"))
        else:
            checked[path] = domain
    if "distill.outer" not in checked:
        problems += unused_settings(config, checked)
    problems = problems or _functions(checked) or _never_valid(checked, config)
    if problems:
        raise ConfigError(problems)
    return checked


def _unknown(space: Space, key: object) -> Problem:
    try:
        apply_overrides(Config(), {str(key): 0})
    except ConfigError as error:
        return Problem(f"space {space.name}: {key}", "", error.problems[0].reason)
    raise AssertionError(key)


def _short(domain: object) -> str:
    """A domain as the user wrote it, roughly."""
    values = (
        {name: value for name, value in vars(domain).items() if name != "sampler"} if hasattr(domain, "sampler") else {}
    )
    if values:
        inside = ", ".join(f"{name}={value}" for name, value in values.items())
        return f"{type(domain).__name__}({inside})"
    return str(domain)


def _outside(path: str, method: str) -> str:
    """Return why a setting is not one that trials of a method differ in; empty where it is."""
    info = method_info(method)
    section, _, leaf = path.partition(".")
    sections = [*(["expert"] if info.needs_experts else []), "distill", *([info.section] if info.section else [])]
    if leaf and section in sections:
        read = info.distill is None or section != "distill" or leaf in info.distill
        return "" if read else f"{method} does not read it; of distill it reads {', '.join(info.distill or ())}"
    owners = [
        name
        for name, other in METHODS.items()
        if (other.needs_experts if section == "expert" else other.section == section)
    ]
    hint = f"; it is a setting of {', '.join(owners)} (tune.method)" if leaf and owners else ""
    return f"only settings of {' and '.join(sections)} leave trials of {method} comparable{hint}"


def _functions(space: Mapping[str, Any]) -> list[Problem]:
    """Try every function of a space on a few draws of the rest."""
    problems: dict[str, Problem] = {}
    for number in range(_FEW):
        values = draw(space, seed=number)
        for path, domain in space.items():
            if isinstance(domain, Function) and (told := function_problem(schema()[path], domain, values)):
                problems.setdefault(path, Problem(path, "a function", told))
    return list(problems.values())


def _never_valid(space: Mapping[str, Any], config: Config) -> list[Problem]:
    """Draw a few configurations; when none is valid, tell what is wrong with the first."""
    first: list[Problem] = []
    for number in range(_TRIES):
        values = canonicalize(draw(space, seed=number), config)
        found = problems_of(apply_overrides(config, values))
        if not found:
            return []
        first = first or found
    return [Problem(item.setting, item.value, f"in every draw of the space: {item.reason}") for item in first]
