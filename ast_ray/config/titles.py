"""Titles of sets, and of DD-Ranking's scores, as tables print them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ast_ray.config.methods import METHODS

TITLES = {
    "random": "random real images",
    "representative": "representative real images",
    "full": "full data",
    "herding": "herding real images",
    "k-centre": "k-centre real images",
    "forgetting": "most forgotten real images",
}


def set_title(name: str) -> str:
    """Return the title of a set; a set without one is called by its name."""
    return METHODS[name].title if name in METHODS else TITLES.get(name, name)


# Marks of rows of sets with soft labels, and the notes below the table, by the row's ``targets``.
SOFT = {
    "soft": ("†", "soft labels: the set has them, and networks are trained on them"),
    "hard": ("‡", "soft labels: the set has them, and networks are trained on its hard labels alone"),
}


def soft_mark(row: Mapping[str, Any]) -> str:
    """Return the mark of a row of a set with soft labels; empty for any other."""
    return SOFT.get(str(row.get("targets")), ("", ""))[0]


def row_title(row: Mapping[str, Any]) -> str:
    """Return the title of a row's set, with its mark.

    >>> row_title({"set": "ast"}), row_title({"set": "ast", "targets": "soft"})
    ('AST', 'AST†')
    """
    return set_title(row["set"]) + soft_mark(row)


def soft_notes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the notes to put below a table with these rows, one for each mark in it."""
    found = {str(row.get("targets")) for row in rows}
    return [f"{mark} {note}" for name, (mark, note) in SOFT.items() if name in found]


# Key of a result row, column title, factor.
SCORES = (("ior", "IOR %", 100), ("hlr", "HLR %", 100), ("lrs", "LRS", 1), ("ars", "ARS", 1))


def score_text(value: float | None, factor: int) -> str:
    """Return a score as its column shows it: percent to one place, others to three; empty for none.

    >>> score_text(0.2512, 100), score_text(0.2512, 1), score_text(None, 1)
    ('25.1', '0.251', '')
    """
    if value is None:
        return ""
    return f"{factor * value:.1f}" if factor != 1 else f"{value:.3f}"
