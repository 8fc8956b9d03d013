"""Where the time of one distillation iteration and one expert step goes, as a picture and a table.

    python benchmarks/profiling.py [--picture docs/images/profile.png] [--width 128] [--ipc 10] [--steps 2]

torch.profiler's own time per operation, in groups. The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import matplotlib
import torch
from iteration import CLASSES, SHAPE, Iteration, settings
from measure import finish

from ast_ray.core.engines.expert_step import ExpertStep
from ast_ray.core.experts.training import train_expert
from ast_ray.core.networks import build
from ast_ray.core.rng import stream
from ast_ray.stages.engine import build_expert_step

GROUPS = {
    "convolution": ("conv",),
    "fused passes": ("fused", "compiledfxgraph", "torch-compiled", "call cpp", "triton"),
    "matrix products": ("mm", "linear", "matmul"),
    "normalisation": ("group_norm", "batch_norm", "groupnorm"),
    "ReLU and pooling": ("pool", "threshold", "relu", "clamp_min"),
    "memory (copy, fill, allocate)": ("copy", "fill", "zero", "empty", "clone", "contiguous", "cat"),
    "sums and means": ("sum", "mean", "norm", "dot"),
    "elementwise": ("mul", "add", "sub", "div", "where", "sqrt", "pow", "neg", "gt"),
}


def group_of(name: str) -> str:
    """The group of an operation's name."""
    lower = name.lower()
    return next((group for group, words in GROUPS.items() if any(word in lower for word in words)), "other")


def measure(call: Callable[[], object]) -> dict[str, float]:
    """Seconds per group of one call, after an unmeasured one."""
    call()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        call()
    seconds: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        seconds[group_of(event.key)] += event.self_cpu_time_total / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def draw(found: dict[str, dict[str, float]], path: Path) -> None:
    """One stacked bar per profiled piece of work."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 3.2), layout="constrained")
    names, left = list(found), [0.0] * len(found)
    for group in [*GROUPS, "other"]:
        widths = [found[name].get(group, 0.0) for name in names]
        if any(widths):
            axes.barh(names, widths, left=left, label=group)
            left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    figure.legend(fontsize="small", ncols=5, loc="outside lower center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Profile, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, default=Path("docs/images/profile.png"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shared = {
        "network__width": options.width,
        "distill__ipc": options.ipc,
        "distill__syn_steps": options.steps,
        "distill__expert_epochs": 1,
    }
    eager = settings(**shared, distill__engine="eager", distill__gradient="full_graph")
    ours = settings(**shared, distill__engine="compiled", distill__gradient="stored")
    per_step = f"{options.steps} student steps"
    network = build(ours.network, SHAPE, CLASSES, stream(0, "network"))
    images, labels = torch.randn(256, *SHAPE, generator=stream(0, "images")), torch.arange(256) % CLASSES
    expert = settings(**shared, **{"expert__epochs": 1, "expert__batch_size": 256}).expert
    whole = dataclasses.replace(ours, expert=dataclasses.replace(expert, expert_engine="compiled"))
    step = build_expert_step(network, whole, SHAPE, len(images))

    def expert_step(by: ExpertStep | None) -> Callable[[], object]:
        return lambda: list(train_expert(network, images, labels, expert, seed=0, expert_id=0, step=by))

    found = {
        f"unrolled eager graph, {per_step}": measure(Iteration(eager, "cpu")),
        f"compiled, stored, {per_step}": measure(Iteration(ours, "cpu")),
        "AST expert step by autograd": measure(expert_step(None)),
        "AST expert step, compiled": measure(expert_step(step)),
    }
    for name, groups in found.items():
        print(f"{name}: {sum(groups.values()):.2f} s")
        for group, seconds in groups.items():
            print(f"    {group:30} {seconds:8.3f} s")
    draw(found, options.picture)
    finish("profile", {"groups": found})


if __name__ == "__main__":
    main()
