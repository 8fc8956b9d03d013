"""Peak memory of one distillation iteration against the number of student steps N.

    python benchmarks/memory.py [--width 64] [--ipc 5] [--steps 10 80] [--engine compiled]

Each measurement is a process of its own; its peak resident memory is the operating system's. Memory of the exact
gradient with recompute should grow by the kept weight vectors (N*P floats) and nothing else; the unrolled graph of the
literature stands beside it at smaller N. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import torch
from iteration import Iteration, settings
from measure import finish


def measure(name: str, steps: int, width: int, ipc: int) -> dict[str, float]:
    """Run two iterations of ``engine/method`` and return the peak resident memory, what was expected, and P."""
    torch.set_num_threads(2)
    engine, method = name.split("/")
    shared = {"network__width": width, "distill__ipc": ipc, "distill__syn_steps": steps}
    config = settings(**shared, distill__engine=engine, distill__gradient=method)
    run = Iteration(config, "cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for _ in range(2):
        run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    expected = run.choice.memory / 2**20
    return {"peak_mib": peak, "before_mib": before, "expected_mib": expected, "parameters": run.parameters}


def in_process(name: str, steps: int, width: int, ipc: int) -> dict[str, float]:
    """Measure in a fresh process, and once before that where code has to be compiled first."""
    command = [sys.executable, __file__, "--one", name, str(steps), "--width", str(width), "--ipc", str(ipc)]
    for _ in range(2 if name.startswith("compiled") else 1):  # the compiler's own memory is not the iteration's
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("ENGINE/METHOD", "STEPS"))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--ipc", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs=2, default=[10, 80])
    parser.add_argument("--engine", default="eager", choices=["eager", "compiled"])
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), options.width, options.ipc)))
        return
    low, high = options.steps
    ours = f"{options.engine}/recompute"
    rows = {f"{ours} N={n}": in_process(ours, n, options.width, options.ipc) for n in (low, high)}
    others = [("eager/full_graph", 2 * low), ("eager/full_graph", low)]
    others += [(f"{options.engine}/stored", low)] if options.engine == "compiled" else []
    rows |= {f"{name} N={n}": in_process(name, n, options.width, options.ipc) for name, n in others}
    for name, row in rows.items():
        grown = row["peak_mib"] - row["before_mib"]
        expected = f"({row['expected_mib']:.1f} expected)"
        print(f"{name:24} peak {row['peak_mib']:8.1f} MiB, {grown:8.1f} above the start {expected}")
    kept = (high - low) * rows[f"{ours} N={low}"]["parameters"] * 4 / 2**20
    small, large = rows[f"{ours} N={low}"]["peak_mib"], rows[f"{ours} N={high}"]["peak_mib"]
    excess = (large - kept) / small - 1
    print(f"kept weight vectors: {kept:.1f} MiB; N={high} without them against N={low}: {100 * excess:+.1f} %")
    finish("memory", {"rows": rows, "kept_mib": kept, "excess": excess})


if __name__ == "__main__":
    main()
