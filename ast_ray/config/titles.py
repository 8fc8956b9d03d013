"""Titles of sets, and of DD-Ranking's scores, as tables print them."""

from __future__ import annotations

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
