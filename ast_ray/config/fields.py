"""How a setting is declared: a dataclass field that carries its text, paper symbol and bounds."""

from __future__ import annotations

from dataclasses import field
from typing import Any


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
) -> Any:
    """Declare a setting; ``low``/``high`` are inclusive bounds, ``above``/``below`` exclusive ones.

    ``pattern`` is a regular expression that a text has to match as a whole.
    """
    bounds = {"low": low, "above": above, "high": high, "below": below}
    return field(default=default, metadata={"doc": doc, "symbol": symbol, "bounds": bounds, "pattern": pattern})
