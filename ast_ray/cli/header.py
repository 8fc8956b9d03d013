"""The head of a run: what will be done on which images, where, and about how long it takes. Printed before the work."""

from __future__ import annotations

from collections.abc import Sequence

from ast_ray.cli.data import size_text
from ast_ray.cli.presets import duration_text
from ast_ray.config.engine import choose_expert_engine
from ast_ray.config.methods import matched_methods
from ast_ray.config.networks import automatic_depth, padded_side
from ast_ray.config.settings import NetworkConfig
from ast_ray.config.titles import set_title
from ast_ray.errors import counted
from ast_ray.report.tables import network_title
from ast_ray.stages.engine import matching_choice
from ast_ray.stages.evaluation.rows import with_scored
from ast_ray.stages.run.estimate import STAGES, Expected, Stage, expected
from ast_ray.stages.run.pipeline import Plan
from ast_ray.stages.run.preflight import parameter_count


def header(plan: Plan, why: str, stages: Sequence[Stage] = STAGES) -> list[str]:
    """Return aligned lines about a run, of which ``stages`` will be worked on; measures for about a second.

    ``why`` says how the preset was chosen.
    """
    begun = ", which holds this run already" if plan.directory.config.exists() else ""
    rows = {
        "preset": f"{plan.config.preset or 'none'} ({why})",
        "data": _data(plan),
        "network": _network(plan),
        "methods": _methods(plan, stages),
        "engines": _engines(plan, stages),
        "folder": f"{plan.directory}{begun}",
        "expected": _expected(expected(plan, stages)),
    }
    width = max(map(len, rows))
    return [f"{name:{width}}  {text}" for name, text in rows.items() if text]


def _data(plan: Plan) -> str:
    data, (channels, height, width) = plan.data, plan.data.image_shape
    colour = {1: "grey", 3: "rgb"}.get(channels, f"{channels} channels")
    splits = {"training": data.train_labels, "validation": data.validation_labels, "test": data.test_labels}
    counts = ", ".join(f"{len(labels):,} {name}" for name, labels in splits.items())
    source = plan.config.data.source + (f" ({plan.config.data.subset})" if plan.config.data.subset else "")
    return f"{source}: {data.classes} classes, {width}x{height} px, {colour}; {counts} images"


def _network(plan: Plan) -> str:
    network, side = plan.config.network, min(plan.data.image_shape[1:])
    size = _size(network, side)
    return f"{network_title(network.name)}{size}, {parameter_count(plan.config, plan.data):,} parameters"


def _size(network: NetworkConfig, side: int) -> str:
    """Width and depth, of networks that have them among their settings."""
    if network.name not in ("convnet", "mlp", "vit"):
        return ""
    automatic = {"convnet": automatic_depth(padded_side(side, network.first_padding)), "mlp": 2, "vit": 4}
    return f" of width {network.width}, depth {network.depth or automatic[network.name]}"


def _methods(plan: Plan, stages: Sequence[Stage]) -> str:
    run = plan.config.run
    methods = ", ".join(set_title(name) for name in run.methods) or "none"
    if "evaluation" not in stages:
        return methods + (" (experts only)" if "distillation" not in stages else " (no evaluation)")
    baselines = ", ".join(with_scored(run.baselines, plan.config))
    return f"{methods}; baselines: {baselines or 'none'}"


def _engines(plan: Plan, stages: Sequence[Stage]) -> str:
    """Return the engines of experts and students, where this machine decides them."""
    config, data = plan.config, plan.data
    if not matched_methods(config) or config.compute.address:
        return ""
    choice, here = matching_choice(config, data)
    experts = choose_expert_engine(config, data.image_shape, len(data.train_labels), here)
    matching = f"; matching {choice.engine}, {choice.method}" if "distillation" in stages else ""
    return f"experts {experts}{matching}"


def _expected(needs: Expected) -> str:
    if not needs.left:
        return "nothing is left to do"
    workers = counted(needs.workers, "worker")
    if needs.seconds is None:
        parts = ["time not known in advance, on GPUs and clusters"]
    else:
        more = ", networks of other architectures not counted" if needs.partly else ""
        parts = [f"{about(needs.seconds)} on {workers}{more}"]
    if needs.memory:
        of = f" (the machine has {_memory(needs.available)})" if needs.available else ""
        parts.append(f"about {_memory(needs.memory)} of memory per worker beside torch's own{of}")
    if needs.disk:
        parts.append(f"{size_text(needs.disk)} of disk for experts")
    return "; ".join(parts)


def about(seconds: float) -> str:
    """Return a time no more exactly than an estimate knows it."""
    if seconds < 10:
        return "a few seconds"
    return f"about {round(seconds, -1):.0f} s" if seconds < 90 else f"about {duration_text(max(seconds, 120))}"


def _memory(count: int) -> str:
    return f"{max(1, count / 2**20):.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
