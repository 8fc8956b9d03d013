"""Which engine trains a configuration's experts on a machine."""

from __future__ import annotations

import dataclasses

import pytest

from ast_ray.config import Config, apply_overrides, check, expert_identity, method_identity
from ast_ray.config.engine import Machine, choose, choose_expert_engine
from ast_ray.config.presets import preset
from ast_ray.errors import ConfigError

SHAPE = (3, 32, 32)
CPU = Machine("cpu", 24 * 2**30, compiler=True)
GPU = Machine("cuda", 140 * 2**30, compiler=True)


def _config(**overrides: object) -> Config:
    return check(apply_overrides(Config(), {name.replace("__", "."): value for name, value in overrides.items()}))


def _chosen(config: Config, machine: Machine = CPU, images: int = 45000) -> str:
    return choose_expert_engine(config, SHAPE, images, machine)


def test_long_experts_compile_on_a_cpu_and_short_ones_do_not():
    assert _chosen(_config()) == "compiled"
    assert _chosen(_config(), images=200) == "eager"
    assert _chosen(_config(network__width=4), images=4500) == "eager"
    assert choose_expert_engine(preset("digits"), (1, 8, 8), 1300, CPU) == "eager"


def test_what_is_never_trained_does_not_count():
    short = {"distill__max_start_epoch": 2, "distill__expert_epochs": 2}
    assert _chosen(_config(**short, expert__reachable_only=False), images=2000) == "compiled"
    assert _chosen(_config(**short), images=2000) == "eager"


def test_the_penalty_counts():
    whole = {"expert__reachable_only": False}
    assert _chosen(_config(**whole), images=400) == "compiled"
    assert _chosen(_config(**whole, expert__penalty_weight=0.0), images=400) == "eager"


def test_flat_experts_count_twice_and_compile_too():
    plain = {"expert__reachable_only": False, "expert__penalty_weight": 0.0}
    assert _chosen(_config(**plain), images=500) == "eager"
    assert _chosen(_config(**plain, expert__sharpness_rho=0.01), images=500) == "compiled"


def test_on_a_gpu_the_penalty_decides():
    assert _chosen(_config(), GPU) == "compiled"
    assert _chosen(_config(expert__penalty_weight=0.0), GPU) == "eager"
    assert _chosen(_config(), GPU, images=2000) == "eager"
    assert _chosen(_config(), dataclasses.replace(GPU, compiler=False)) == "eager"


def test_experts_together_stay_eager_and_who_asks_gets_the_compiled_step():
    assert _chosen(_config(compute__experts_together=4)) == "eager"
    assert _chosen(_config(expert__expert_engine="compiled"), GPU) == "compiled"
    with pytest.raises(ConfigError, match=r"compute.experts_together.*one at a time"):
        _config(compute__experts_together=4, expert__expert_engine="compiled")


def test_what_cannot_be_compiled_is_refused_with_what_can():
    asked = {"expert__expert_engine": "compiled"}
    with pytest.raises(ConfigError, match=r"expert.expert_engine.*only ConvNet.*auto, eager"):
        _chosen(_config(**asked, network__name="resnet18"))
    with pytest.raises(ConfigError, match=r"expert.expert_engine.*C\+\+ compiler"):
        _chosen(_config(**asked), dataclasses.replace(CPU, compiler=False))
    assert _chosen(_config(network__name="resnet18")) == "eager"
    assert _chosen(_config(), dataclasses.replace(CPU, compiler=False)) == "eager"


def test_tf32_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"expert.expert_precision.*float32, bf16"):
        _chosen(_config(expert__expert_precision="tf32"))
    with pytest.raises(ConfigError, match=r"distill.precision.*float32, bf16"):
        choose(_config(distill__precision="tf32"), SHAPE, 10, CPU)
    assert _chosen(_config(expert__expert_precision="tf32"), GPU) == "compiled"


@pytest.mark.parametrize(
    ("setting", "value", "experts", "sets"),
    [
        ("distill__precision", "bf16", False, True),
        ("expert__expert_precision", "bf16", True, True),
        ("expert__optimizer", "adam", True, True),
        ("expert__expert_engine", "compiled", True, True),
    ],
)
def test_what_moves_bytes_is_in_the_identity_and_defaults_leave_it_as_it_was(setting, value, experts, sets):
    plain, changed = _config(), _config(**{setting: value})
    assert (expert_identity(plain, "d") != expert_identity(changed, "d")) is experts
    assert (method_identity(plain, "d") != method_identity(changed, "d")) is sets
    section, name = setting.split("__")
    assert name not in method_identity(plain, "d")[section]
