"""The settings as a flat table: name, type, default, text, bounds. Help, loading and validation all read it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ast_ray.config.field import LARGEST
from ast_ray.config.methods import own_sections
from ast_ray.config.settings import Config
from ast_ray.errors import suggestion

EMPTY_LIST = "none"


@dataclass(frozen=True)
class Setting:
    """One leaf of `Config`: ``path`` is ``section.field`` (or ``field`` at the top)."""

    path: str
    kind: type
    default: object
    doc: str
    symbol: str
    choices: Collection[str]
    is_list: bool
    bounds: Mapping[str, float | None]
    pattern: str = ""

    @property
    def leaf(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def parse(self, value: object) -> object:
        """Turn YAML or command-line text into the field's type; raise ValueError with a readable reason.

        An empty list is ``[]`` in YAML and ``none`` as text. Empty text is refused: it is what a script leaves behind
        when a variable is not set.
        """
        if not self.is_list:
            return self._one(value)
        if value == EMPTY_LIST:
            return ()
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ValueError("expected a list, or names joined by commas")
        names = [part.strip() if isinstance(part, str) else part for part in parts]
        given = [name for name in names if name != ""]
        if parts and not given:
            known = f" of {', '.join(self.choices)}" if self.choices else ""
            raise ValueError(f"is empty; give names{known}, or {EMPTY_LIST!r} for none at all")
        return tuple(self._one(name) for name in given)

    def _one(self, value: object) -> object:
        if self.kind is bool:
            return _as_bool(value)
        if self.kind in (int, float):
            number = _as_number(value, self.kind)
            self._check_bounds(number)
            return number
        if not isinstance(value, str):
            raise ValueError(f"expected text, got {type(value).__name__}")
        if self.choices and value not in self.choices:
            raise ValueError(f"not one of {', '.join(self.choices)}{suggestion(value, self.choices)}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValueError("expected a plain name: letters, digits, '.', '_' and '-', the first a letter or digit")
        if self.default and not value.strip():
            raise ValueError(f"is empty; leave it out for the default, {self.default!r}")
        return value

    def _check_bounds(self, number: float) -> None:
        tests = {
            "low": (lambda bound: number >= bound, "at least"),
            "above": (lambda bound: number > bound, "above"),
            "high": (lambda bound: number <= bound, "at most"),
            "below": (lambda bound: number < bound, "below"),
        }
        for name, bound in self.bounds.items():
            test, word = tests[name]
            if bound is not None and not test(bound):
                raise ValueError(f"must be {word} {bound if isinstance(bound, int) else f'{bound:g}'}")


def _as_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0"):
        return False
    raise ValueError("expected true or false")


def _as_number(value: object, kind: type) -> float | int:
    wanted = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {wanted}")
    if kind is int and not isinstance(value, float):
        with suppress(ValueError):
            return int(value)  # exact: a float holds 53 bits, a seed may have more
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"expected {wanted}") from None
    except OverflowError:
        raise ValueError("must be finite") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError("must be finite")
    if kind is int:
        if number != int(number):
            raise ValueError("expected a whole number")
        return int(number)
    return number


def _leaf(path: str, hint: Any, default: object, metadata: Mapping[str, Any]) -> Setting:
    is_list = get_origin(hint) is tuple
    inner = get_args(hint)[0] if is_list else hint
    choices = get_args(inner) if get_origin(inner) is Literal else metadata["choices"]
    kind = str if choices else inner
    bounds = metadata["bounds"]
    if kind in LARGEST and bounds["high"] is None and bounds["below"] is None:
        bounds = {**bounds, "high": LARGEST[kind]}
    return Setting(
        path, kind, default, metadata["doc"], metadata["symbol"], choices, is_list, bounds, metadata["pattern"]
    )


@cache
def schema() -> dict[str, Setting]:
    """All settings by path, in the order of declaration."""
    table: dict[str, Setting] = {}

    def walk(cls: type, prefix: str) -> None:
        hints = get_type_hints(cls)
        for item in fields(cls):
            hint = hints[item.name]
            if is_dataclass(hint):
                walk(hint, f"{item.name}.")  # type: ignore[arg-type]
            else:
                path = prefix + item.name
                table[path] = _leaf(path, hint, item.default, item.metadata)

    walk(Config, "")
    return table


@cache
def aliases() -> dict[str, str]:
    """Every accepted name (full path, and the last part where it is unique) -> path.

    Settings of a method's own section have their full path alone, so that a new method takes no name away.
    """
    own = own_sections()
    leaves: dict[str, list[str]] = {}
    for path, item in schema().items():
        if path.partition(".")[0] not in own:
            leaves.setdefault(item.leaf, []).append(path)
    names = {path: path for path in schema()}
    names.update({leaf: paths[0] for leaf, paths in leaves.items() if len(paths) == 1})
    return names
