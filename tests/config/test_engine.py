"""Which engine a configuration gets on a machine, and what it is expected to need there."""

from __future__ import annotations

import dataclasses

import pytest

from ast_ray.config import Config, apply_overrides, check
from ast_ray.config.engine import Machine, choose, hand_derived, matching_memory
from ast_ray.config.presets import preset
from ast_ray.errors import ConfigError, ResourceError

SHAPE, CLASSES = (3, 32, 32), 10
CPU = Machine("cpu", 24 * 2**30, compiler=True)
GPU = Machine("cuda", 140 * 2**30, compiler=True)
LONG = {"distill.iterations": 5000, "distill.syn_steps": 30, "distill.ipc": 10}


def _config(**overrides: object) -> Config:
    return check(apply_overrides(Config(), {name.replace("__", "."): value for name, value in overrides.items()}))


def _long(**overrides: object) -> Config:
    return apply_overrides(_config(**overrides), LONG)


def test_a_short_run_does_not_compile():
    assert choose(preset("digits"), (1, 8, 8), 10, CPU).engine == "eager"
    assert choose(_config(distill__iterations=1, distill__syn_steps=30), SHAPE, CLASSES, CPU).engine == "eager"


def test_a_long_run_compiles_and_on_a_gpu_is_captured():
    assert choose(_long(), SHAPE, CLASSES, CPU).engine == "compiled"
    assert choose(_long(), SHAPE, CLASSES, GPU).engine == "graphed"
    assert choose(preset("digits"), (1, 8, 8), 10, GPU).engine == "eager"
    assert choose(_long(), SHAPE, CLASSES, dataclasses.replace(GPU, compiler=False)).engine == "eager"


def test_a_graph_per_step_where_they_fit_and_one_for_all_where_they_do_not():
    assert choose(_long(), SHAPE, CLASSES, GPU).method == "stored"
    assert choose(_long(), SHAPE, CLASSES, dataclasses.replace(GPU, memory=10 * 2**30)).method == "recompute"


def test_half_as_many_bytes_in_bf16():
    whole, half = (
        matching_memory(_long(distill__precision=name), SHAPE, CLASSES, "compiled", "stored", GPU)
        for name in ("float32", "bf16")
    )
    fixed = 4 * 320010 * (30 + 2 + 10) + 4 * 6 * 100 * 3072  # weights and images stay as they are
    assert half - fixed == pytest.approx((whole - fixed) / 2)


@pytest.mark.parametrize(
    "overrides",
    [{"network__name": "resnet18"}, {"network__norm": "none"}, {"distill__gradient": "full_graph"}],
)
def test_what_is_not_written_out_stays_eager(overrides):
    assert choose(_long(**overrides), SHAPE, CLASSES, CPU).engine == "eager"
    with pytest.raises(ConfigError, match=r"distill.engine.*eager"):
        choose(_long(**overrides, distill__engine="compiled"), SHAPE, CLASSES, CPU)


def test_without_a_compiler_auto_is_eager_and_compiled_is_refused():
    bare = dataclasses.replace(CPU, compiler=False)
    assert choose(_long(), SHAPE, CLASSES, bare).engine == "eager"
    with pytest.raises(ConfigError, match=r"C\+\+ compiler"):
        choose(_long(distill__engine="compiled"), SHAPE, CLASSES, bare)
    with pytest.raises(ConfigError, match="Triton"):
        choose(_long(distill__engine="graphed"), SHAPE, CLASSES, dataclasses.replace(GPU, compiler=False))


def test_graphs_need_a_gpu():
    with pytest.raises(ConfigError, match="need a GPU"):
        choose(_long(distill__engine="graphed"), SHAPE, CLASSES, CPU)


def test_steps_are_stored_where_an_eighth_of_the_memory_holds_them():
    few, many = (apply_overrides(_long(), {"distill.syn_steps": steps}) for steps in (10, 80))
    assert choose(few, SHAPE, CLASSES, CPU).method == "stored"
    assert choose(many, SHAPE, CLASSES, CPU).method == "recompute"
    assert choose(apply_overrides(few, {"distill.engine": "eager"}), SHAPE, CLASSES, CPU).method == "recompute"
    for method in ("recompute", "stored"):
        assert choose(apply_overrides(many, {"distill.gradient": method}), SHAPE, CLASSES, CPU).method == method


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_recompute_grows_with_the_steps_by_the_kept_weights_alone(engine):
    low, high = (
        matching_memory(
            apply_overrides(_long(), {"distill.syn_steps": steps}), SHAPE, CLASSES, engine, "recompute", CPU
        )
        for steps in (10, 80)
    )
    assert high - low == 4 * 70 * 320010  # P of ConvNet-3 on 32x32 colour images


def test_what_cannot_fit_is_refused_with_what_would():
    unrolled = {"distill.batch_size": 125, "distill.ipc": 50, "distill.gradient": "full_graph", "distill.syn_steps": 80}
    large = apply_overrides(_long(), unrolled)
    with pytest.raises(ResourceError, match=r"full_graph needs about .* GiB.*recompute needs"):
        choose(large, SHAPE, 100, CPU)
    small = dataclasses.replace(CPU, memory=2**26)
    with pytest.raises(ResourceError, match=r"lower distill.batch_size \(up to \d+ would fit\)"):
        choose(_long(), SHAPE, CLASSES, small)
    with pytest.raises(ResourceError, match=r"lower network\.width"):
        choose(_long(), SHAPE, CLASSES, dataclasses.replace(CPU, memory=2**20))


def test_the_suggested_batch_size_fits():
    small = dataclasses.replace(CPU, memory=2**29)
    with pytest.raises(ResourceError) as raised:
        choose(_long(distill__engine="eager"), SHAPE, CLASSES, small)
    rows = int(str(raised.value).split("(up to ")[1].split(" ")[0])
    assert choose(_long(distill__engine="eager", distill__batch_size=rows), SHAPE, CLASSES, small).engine == "eager"


def test_the_choice_is_told_with_the_estimate():
    told = choose(_long(), SHAPE, CLASSES, CPU).told(CPU)
    assert told.startswith("matching: engine compiled")
    assert "of 24 GiB" in told


def test_written_out_follows_the_networks_own_norm():
    assert hand_derived(Config())
    assert hand_derived(_config(network__norm="instance"))


@pytest.mark.parametrize("machine", [CPU, GPU])
def test_direct_keeps_the_steps_where_auto_would_store_them(machine):
    """A choice of its own by every engine; its memory is that of what it keeps."""
    few, many = (apply_overrides(_long(distill__gradient="direct"), {"distill.syn_steps": steps}) for steps in (10, 80))
    small = dataclasses.replace(machine, memory=8 * 2**30)
    for config, where, roomy in ((few, machine, True), (many, small, False)):
        found = choose(config, SHAPE, CLASSES, where)
        like = choose(apply_overrides(config, {"distill.gradient": "auto"}), SHAPE, CLASSES, where)
        assert (found.method, found.roomy) == ("direct", roomy)
        assert like.method == ("stored" if roomy else "recompute")
        assert (found.engine, found.memory) == (like.engine, like.memory)
        assert not like.roomy
    eager = choose(apply_overrides(few, {"distill.engine": "eager"}), SHAPE, CLASSES, machine)
    assert (eager.engine, eager.method, eager.roomy) == ("eager", "direct", False)
    assert ", direct, about" in found.told(small)


def test_direct_that_cannot_fit_is_told_what_would():
    small = dataclasses.replace(CPU, memory=2**26)
    with pytest.raises(ResourceError, match=r"direct needs about .*lower distill.batch_size"):
        choose(_long(distill__gradient="direct"), SHAPE, CLASSES, small)
