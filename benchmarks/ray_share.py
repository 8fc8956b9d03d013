"""What Ray costs: experts on two actors against two plain processes that train half of them each.

    python benchmarks/ray_share.py [--experts 8] [--epochs 60] [--rounds 3]

Both sides start their processes, import torch, load the images and train the same experts of the digits preset; Ray
itself is up before. Sides alternate; needs two cores with nothing else on them.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from measure import alternate, finish, ratio, spread, told

from ast_ray.config import Config, apply_overrides
from ast_ray.config.presets import preset
from ast_ray.ray_backend.session import ray_session
from ast_ray.stages.device import real_data
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, expert_jobs, work_on
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.telemetry.progress import Silent

PROCESSES = 2


def plan(folder: Path, experts: int, epochs: int) -> Plan:
    """The digits preset with as many experts, in a run directory."""
    config: Config = apply_overrides(
        preset("digits"), {"expert.count": experts, "expert.epochs": epochs, "compute.device": "cpu"}
    )
    return Plan(config, real_data(config.data, torch.device("cpu")), RunDirectory(folder))


def train_share(folder: Path, experts: int, epochs: int, share: int) -> None:
    """One plain process: every second expert."""
    jobs = expert_jobs(plan(folder, experts, epochs), ["ast"])
    list(SerialExecutor(Silent()).run(work_on, jobs[share::PROCESSES]))


def bare(folder: Path, experts: int, epochs: int) -> None:
    """Two plain processes side by side."""
    plan(folder, experts, epochs).buffer("ast").prepare()
    command = [sys.executable, __file__, "--folder", str(folder), "--experts", str(experts), "--epochs", str(epochs)]
    running = [subprocess.Popen([*command, "--share", str(share)]) for share in range(PROCESSES)]
    if any(process.wait() for process in running):
        raise SystemExit("a plain process failed")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.share is not None:
        train_share(given.folder, given.experts, given.epochs, given.share)
        return
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as scratch:
        settings = plan(Path(scratch), given.experts, given.epochs).config.compute
        with ray_session(settings) as capacity:
            from ast_ray.ray_backend.executor import RayExecutor

            def on_ray() -> None:
                jobs = expert_jobs(plan(Path(scratch) / str(next(numbers)), given.experts, given.epochs), ["ast"])
                list(RayExecutor(capacity, Silent()).run(work_on, jobs))

            def plainly() -> None:
                bare(Path(scratch) / str(next(numbers)), given.experts, given.epochs)

            times = alternate({"plain processes": plainly, "Ray actors": on_ray}, given.rounds)
    for name, found in times.items():
        print(f"{name}: {spread(found)}")
    overhead = ratio(times["Ray actors"], times["plain processes"])
    print(f"Ray against plain processes: {told(overhead)} of their time")
    figures = {"experts": given.experts, "epochs": given.epochs, "seconds": times}
    finish("ray_share", {"ray_over_plain": overhead, **figures})


if __name__ == "__main__":
    main()
