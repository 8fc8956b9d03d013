"""Names of sets as papers print them."""

from __future__ import annotations

TITLES = {
    "random": "random real images",
    "representative": "representative real images",
    "mtt": "MTT",
    "ast": "AST",
    "full": "full data",
    "herding": "herding real images",
    "k-centre": "k-centre real images",
    "forgetting": "most forgotten real images",
}


def set_title(name: str) -> str:
    """Return the title of a set; a set without one is called by its name."""
    return TITLES.get(name, name)
