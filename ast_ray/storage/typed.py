"""Check plain values, as JSON and YAML give them, against types: what a document holds is known before it is used.

A document is described by a `TypedDict`. Names beyond it are kept, so that a newer version's document can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from typing import is_typeddict as _is_typeddict

T = TypeVar("T")
_SHOWN = 40


@dataclass(frozen=True)
class Bounds:
    """Inclusive limits of a number, for `Annotated`."""

    low: float
    high: float


Count = Annotated[int, Bounds(0, 2**53)]
"""A whole number from 0 that a float holds exactly."""

Share = Annotated[float, Bounds(0, 1)]
"""A number from 0 to 1, such as an accuracy."""

Number = Annotated[float, Bounds(-1e100, 1e100)]
"""A finite number, far enough from a float's limits to be computed with."""

_PLAIN: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    NoneType: "null",
    dict: "an object",
    list: "a list",
}


def checked(value: object, kind: type[T], name: str = "") -> T:
    """Return the value unchanged.

    Raises:
        ValueError: it is not of the type; names the first place that differs, what stands there and what belongs there.
    """
    problem = _problem(value, kind, name)
    if problem:
        raise ValueError(problem)
    return cast(T, value)


def _problem(value: object, kind: Any, name: str) -> str:
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return ""
    if _is_typeddict(kind):
        return _document(value, kind, name)
    if origin is Annotated:
        inner, *notes = get_args(kind)
        return _problem(value, inner, name) or _outside(value, notes, name)
    if origin is Literal:
        return "" if value in get_args(kind) else _wrong(value, name, f"one of {', '.join(map(str, get_args(kind)))}")
    if origin in (Union, UnionType):
        problems = [_problem(value, option, name) for option in get_args(kind)]
        return "" if "" in problems else problems[0]
    if origin is list:
        (inner,) = get_args(kind)
        return _first(value, list, name, lambda rows: ((f"{name}[{n}]", row, inner) for n, row in enumerate(rows)))
    if origin is dict:
        _, inner = get_args(kind)
        return _first(
            value, dict, name, lambda items: ((_inside(name, key), item, inner) for key, item in items.items())
        )
    if kind is float and type(value) is int:
        return ""
    if kind not in _PLAIN:
        raise TypeError(f"cannot check values of {kind}")
    return "" if type(value) is kind else _wrong(value, name, _PLAIN[kind])


def _first(value: object, kind: type, name: str, parts: Any) -> str:
    """The first problem among the parts of a list or an object."""
    if type(value) is not kind:
        return _wrong(value, name, _PLAIN[kind])
    return next(filter(None, (_problem(part, inner, place) for place, part, inner in parts(value))), "")


def _document(value: object, kind: Any, name: str) -> str:
    if not isinstance(value, Mapping):
        return _wrong(value, name, "an object")
    for key, (inner, required) in _fields(kind).items():
        if key in value:
            problem = _problem(value[key], inner, _inside(name, key))
            if problem:
                return problem
        elif required:
            return f"{_inside(name, key)} is missing"
    return ""


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Type of each name, and whether it must be there."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for name, hint in hints.items():
        optional = get_origin(hint) is NotRequired
        found[name] = (get_args(hint)[0] if optional else hint, kind.__total__ and not optional)
    return found


def _outside(value: object, notes: list[Any], name: str) -> str:
    for note in notes:
        if isinstance(note, Bounds) and isinstance(value, int | float) and not note.low <= value <= note.high:
            return _wrong(value, name, f"a number from {note.low:g} to {note.high:g}")
    return ""


def _inside(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _wrong(value: object, name: str, wanted: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return f"{name} = {shown}: expected {wanted}" if name else f"{shown}: expected {wanted}"
