"""One distillation iteration: ours against the literature's way, the unrolled eager graph, in turns within one run.

    python benchmarks/matching.py [--engine compiled] [--gradient stored] [--width 128] [--ipc 10] [--steps 10]
    python benchmarks/matching.py --device cuda --engine graphed --ipc 10 --steps 30

The floor is the convolutions' floating-point operations, counted without any that are done twice, over the rate one
large float32 convolution reaches on this machine in the same run. The last line is JSON.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from iteration import SHAPE, Iteration, settings
from measure import alternate, conv_rate, finish, ratio, seconds, spread, told

_FIRST, _LATER = 6, 9  # convolutions a step needs per block: the first block's input gradient is needed only once


def operations(width: int, depth: int, batch: int, steps: int) -> float:
    """Floating-point operations of all convolutions of one iteration with nothing computed twice."""
    channels, side, total = SHAPE[0], SHAPE[1], 0.0
    for block in range(depth):
        forward = 2.0 * 9 * (channels if block == 0 else width) * width * side * side
        total += forward * (_LATER if block else _FIRST)
        side //= 2
    return total * batch * steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", default="compiled", choices=["eager", "compiled", "graphed"])
    parser.add_argument("--gradient", default="auto", choices=["auto", "recompute", "stored"])
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bf16"])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--batch", type=int, default=0, help="images per student step; 0 = all")
    parser.add_argument("--steps", type=int, default=10, help="student steps N")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shared = {
        "network__width": options.width,
        "distill__ipc": options.ipc,
        "distill__batch_size": options.batch,
        "distill__syn_steps": options.steps,
    }
    rate = conv_rate(options.device)
    theirs = Iteration(settings(**shared, distill__engine="eager", distill__gradient="full_graph"), options.device)
    ours = Iteration(
        settings(
            **shared,
            distill__engine=options.engine,
            distill__gradient=options.gradient,
            distill__precision=options.precision,
        ),
        options.device,
    )
    first = seconds(ours)
    times = alternate({"unrolled eager graph": theirs, "ours": ours}, options.rounds)
    found = ratio(times["unrolled eager graph"], times["ours"])
    work = operations(options.width, 3, options.batch or 10 * options.ipc, options.steps)
    rate = max(rate, conv_rate(options.device))
    share = work / statistics.median(times["ours"]) / rate
    for name, values in times.items():
        print(f"{name:22} {spread(values)}")
    print(
        f"ours: engine {ours.choice.engine}, {ours.choice.method}; first iteration, compiling included: {first:.1f} s"
    )
    print(f"ratio {told(found)}; floor {work / rate:.3f} s at {rate / 1e9:.0f} GFLOP/s; ours reaches {share:.0%} of it")
    figures = {"times": times, "ratio": found, "floor": work / rate, "conv_rate": rate, "share": share, "first": first}
    finish("matching", {**figures, "options": {name: str(value) for name, value in vars(options).items()}})


if __name__ == "__main__":
    main()
