"""Peak memory of one distillation iteration against the number of student steps N.

    python benchmarks/memory.py [--width 64] [--ipc 5] [--steps 10 80]

Each measurement is a process of its own; its peak resident memory is the operating system's. Memory of the exact
gradient with recompute should grow by the kept weight vectors (N*P floats) and nothing else; the unrolled graph of the
literature stands beside it at smaller N. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys

import torch

from ast_ray.config import DistillConfig, NetworkConfig
from ast_ray.core.distillation import DistillState, Problem, iterate
from ast_ray.core.flat_params import flatten
from ast_ray.core.networks import build
from ast_ray.core.rng import stream


class Walk:
    """Stand-in experts: a random walk of the right size."""

    def __init__(self, theta: torch.Tensor) -> None:
        self._theta = theta

    def __len__(self) -> int:
        return 1

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[torch.Tensor]:
        """theta_t and ``length`` random moves on."""
        generator = stream(0, "walk", expert_id, start_epoch)
        moves = [torch.randn(self._theta.shape, generator=generator) * 0.01 for _ in range(length)]
        return [self._theta, *(self._theta + sum(moves[: i + 1]) for i in range(length))]


def measure(method: str, steps: int, width: int, ipc: int) -> dict[str, float]:
    """Run two iterations and return the peak resident memory and P."""
    torch.set_num_threads(2)
    network = build(NetworkConfig(width=width), (3, 32, 32), 10, stream(0, "network"))
    labels = torch.arange(10).repeat_interleave(ipc)
    images = torch.randn(len(labels), 3, 32, 32, generator=stream(0, "images"))
    config = DistillConfig(ipc=ipc, syn_steps=steps, max_start_epoch=2, gradient=method, rho=0.01)  # type: ignore[arg-type]
    theta = flatten(network)
    state = DistillState.begin(images, 0.01)
    for _ in range(2):
        state, _ = iterate(Problem(network, labels, Walk(theta), config, 0), state)
    return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "parameters": theta.numel()}


def in_process(method: str, steps: int, width: int, ipc: int) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--one", method, str(steps), "--width", str(width), "--ipc", str(ipc)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "STEPS"))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--ipc", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs=2, default=[10, 80])
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), options.width, options.ipc)))
        return
    low, high = options.steps
    rows = {f"recompute N={n}": in_process("recompute", n, options.width, options.ipc) for n in (low, high)}
    rows |= {f"full_graph N={n}": in_process("full_graph", n, options.width, options.ipc) for n in (low, 2 * low)}
    for name, row in rows.items():
        print(f"{name:18} peak {row['peak_mib']:8.1f} MiB")
    kept = (high - low) * rows[f"recompute N={low}"]["parameters"] * 4 / 2**20
    small, large = rows[f"recompute N={low}"]["peak_mib"], rows[f"recompute N={high}"]["peak_mib"]
    excess = (large - kept) / small - 1
    print(f"kept weight vectors: {kept:.1f} MiB; N={high} without them against N={low}: {100 * excess:+.1f} %")
    print(
        json.dumps(
            {"rows": rows, "kept_mib": kept, "excess": excess, "machine": platform.processor() or platform.machine()}
        )
    )


if __name__ == "__main__":
    main()
