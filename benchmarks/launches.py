"""Where one distillation iteration's time goes on a GPU: its kernels, and the host's operations that launch them.

    python benchmarks/launches.py [--engine graphed] [--ipc 1] [--steps 50]

Prints wall time, how long kernels ran, how many were launched, and the operations that took most. The last line is
JSON.
"""

from __future__ import annotations

import argparse

import torch
from iteration import Iteration, settings
from measure import finish, seconds


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="graphed", choices=["eager", "compiled", "graphed"])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50, help="student steps N")
    options = parser.parse_args()
    config = settings(
        network__width=options.width,
        distill__ipc=options.ipc,
        distill__syn_steps=options.steps,
        distill__engine=options.engine,
    )
    iteration = Iteration(config, "cuda")
    for _ in range(3):
        iteration()
    wall = min(seconds(iteration) for _ in range(5))
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profiler:
        seconds(iteration)
    events = profiler.key_averages()
    kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.self_device_time_total for event in kernels) / 1e6
    launched = sum(event.count for event in kernels)
    print(events.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50))
    print(events.table(sort_by="self_device_time_total", row_limit=14, max_name_column_width=60))
    print(f"wall {wall:.4f} s without the profiler, kernels {busy:.4f} s, {launched} of them")
    finish("launches", {"wall": wall, "kernels_seconds": busy, "kernels": launched, "settings": vars(options)})


if __name__ == "__main__":
    main()
