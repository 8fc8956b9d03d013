from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from ray import tune

from ast_ray.config import apply_overrides, problems_of
from ast_ray.config.presets import preset
from ast_ray.config.schema import schema
from ast_ray.ray_backend.tune.domains import draw, holds
from ast_ray.ray_backend.tune.space_files import space_names
from ast_ray.search.trial import canonicalize

FIVE = {
    "expert.clip_schedule": "linear",
    "expert.clip_start": 0.5,
    "expert.clip_epochs": 5,
    "expert.penalty_weight": 1.0,
    "distill.rho": 0.1,
    "distill.vartheta": 8.0,
    "distill.beta_strategy": "equal",
}
MORE = ("syn_steps", "expert_epochs", "max_start_epoch", "step_img", "step_lr", "init")
EXPERTS = ("lr", "momentum", "weight_decay")


def module(name: str) -> ModuleType:
    return importlib.import_module(f"tune_spaces.{name}")


@pytest.mark.parametrize("name", space_names())
def test_a_space_says_what_it_searches_and_is_keyed_by_full_names(name: str) -> None:
    space = module(name)
    assert space.__doc__
    assert len(space.__doc__.split()) > 40
    assert set(space.param_space) <= set(schema())
    assert set(space.settings) <= set(schema())


@pytest.mark.parametrize("name", ["ast_core", "ast_full"])
def test_the_papers_values_lie_inside(name: str) -> None:
    space = module(name).param_space
    assert all(holds(space[path], value) for path, value in FIVE.items())


def test_the_core_is_the_five_and_the_full_space_adds_the_rest() -> None:
    assert set(module("ast_core").param_space) == set(FIVE)
    full = {f"distill.{leaf}" for leaf in MORE} | {f"expert.{leaf}" for leaf in EXPERTS}
    assert set(module("ast_full").param_space) == set(FIVE) | full


@pytest.mark.parametrize(("name", "least"), [("ast_core", 1.0), ("ast_full", 1.0), ("smoke", 1.0)])
def test_most_draws_are_valid_configurations(name: str, least: float) -> None:
    base = preset("digits" if name == "smoke" else "cifar10-cpu")
    space = module(name).param_space
    draws = [apply_overrides(base, canonicalize(draw(space, seed=seed), base)) for seed in range(200)]
    assert sum(not problems_of(config) for config in draws) / len(draws) >= least


def test_smoke_needs_four_buffers_and_holds_the_preset() -> None:
    space = module("smoke").param_space
    experts = [domain for path, domain in space.items() if path.startswith("expert.")]
    assert all(isinstance(domain, type(tune.choice([1]))) for domain in experts)
    assert len(experts[0].categories) * len(experts[1].categories) == 4
    digits = preset("digits")
    own = {path: getattr(getattr(digits, path.split(".")[0]), path.split(".")[1]) for path in space}
    assert all(holds(space[path], value) for path, value in own.items())
