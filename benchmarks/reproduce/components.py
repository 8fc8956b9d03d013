"""AST's seven components as switches, each by itself, and what MTT's student is."""

from __future__ import annotations

from collections.abc import Mapping

from ast_ray.config import Config
from ast_ray.config.loading import flatten, to_dict

Changes = Mapping[str, object]

# What turns a component off. The rate goes with momentum: 0.01 is MTT's rate for experts without it.
OFF: dict[str, Changes] = {
    "representative initialization": {"distill.init": "random-real"},
    "balanced inner loss": {"distill.balanced_inner_loss": False},
    "intermediate matching": {"distill.beta_strategy": "final"},
    "weight perturbation": {"distill.rho": 0.0},
    "expert momentum": {"expert.momentum": 0.0, "expert.lr": 0.01},
    "gradient penalty": {"expert.penalty_weight": 0.0},
    "clipped loss": {"expert.clip_schedule": "constant"},
}
STUDENT = tuple(OFF)[:4]
EXPERT = tuple(OFF)[4:]


def without(*names: str) -> dict[str, object]:
    """Changes that turn components off."""
    return {path: value for name in names for path, value in OFF[name].items()}


def restored(ast: Config, *names: str) -> dict[str, object]:
    """Changes that give components the values they have in AST's settings."""
    values = flatten(to_dict(ast))
    return {path: values[path] for name in names for path in OFF[name]}
