"""The declaration of a setting: a dataclass field that carries its text, paper symbol and bounds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field
from typing import Any

LARGEST_SEED = 2**63 - 1
LARGEST: dict[type, float] = {int: 10**8, float: 1e6}
"""Upper bounds of numbers that are declared without one. What lies beyond is a slip, noticed after hours otherwise."""


def setting(
    default: object,
    doc: str,
    *,
    symbol: str = "",
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    pattern: str = "",
    choices: Collection[str] = (),
) -> Any:
    """Declare a setting; ``low``/``high`` are inclusive bounds, ``above``/``below`` exclusive ones.

    A number without an upper bound has that of `LARGEST`. ``pattern`` is a regular expression that a text has to match
    as a whole. ``choices`` are the values of a text that a table knows, which may grow; a ``Literal`` has its own.
    """
    bounds = {"low": low, "above": above, "high": high, "below": below}
    metadata = {"doc": doc, "symbol": symbol, "bounds": bounds, "pattern": pattern, "choices": choices}
    return field(default=default, metadata=metadata)
