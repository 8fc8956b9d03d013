"""When more segments per iteration help: accuracy against iterations, against segments, and against wall time.

    python -m benchmarks.segments [--iterations 240] [--seeds 3] [--timing 8]

Distils digits with W = 1, 2, 4 segments per iteration from the same experts. ``equal iterations``: every W runs as
many iterations (W times the work). ``equal segments``: as many segments altogether (fewer iterations). Beside it the
variance of one iteration's gradient, and seconds per iteration of W = 2 in one process and on two actors of one core
each, timed in turns. Accuracies are those of the validation split. The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ast_ray.config import Config, apply_overrides
from ast_ray.config.presets import preset
from ast_ray.core.methods.base import IMAGES
from ast_ray.core.methods.iteration import average
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.data.real import RealData
from ast_ray.stages.device import real_data
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import Distillation, distill
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, train_buffers
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.telemetry.progress import Silent
from benchmarks.measure import finish, ratio, spread, told

WIDTHS = (1, 2, 4)
_DRAWS = 24


def job(base: Config, folder: Path, data: RealData, **changes: object) -> DistillJob:
    """A distillation in a folder of its own, over experts that all of them share."""
    config = apply_overrides(base, {f"distill.{name}": value for name, value in changes.items()})
    config = dataclasses.replace(config, compute=dataclasses.replace(config.compute, store=str(folder / "experts")))
    name = "-".join(f"{name}{value}" for name, value in changes.items()) + f"-seed{config.seed}"
    return Plan(config, data, RunDirectory(folder / name)).distill_job("ast")


def accuracy(work: DistillJob) -> dict[str, float]:
    """Distil; return validation accuracy of the last set, mean loss over the last iterations, and seconds."""
    began = time.perf_counter()
    outcome = distill(work, Silent())
    return {
        "accuracy": outcome["validation_accuracy"],
        "relative_loss": outcome["relative_loss"],
        "seconds": time.perf_counter() - began,
    }


def gradient_noise(work: DistillJob) -> dict[int, float]:
    """Relative variance of the mean image gradient over W segments: |g - E g|^2 / |E g|^2 at the starting images."""
    run = Distillation(work, Silent())
    assert isinstance(run.problem, TrajectoryMatching)
    state, problem = run.state, dataclasses.replace(run.problem, experts=work.buffer)
    found = []
    for number in range(_DRAWS):
        at = state.changed({}, iteration=number)
        found.append(problem.gradients(at, problem.draw(at, 0)))
    mean = average(found).learned[IMAGES]
    noise = {}
    for width in WIDTHS:
        groups = [average(found[i : i + width]).learned[IMAGES] for i in range(0, _DRAWS, width)]
        noise[width] = float(sum((g - mean).square().sum() for g in groups) / len(groups) / mean.square().sum())
    return noise


def timing(base: Config, folder: Path, data: RealData, rounds: int) -> dict[str, Any]:
    """Seconds per iteration of W = 2 in one process and on two actors, alternating, start-up left out."""
    from ast_ray.config.work_settings import ComputeConfig
    from ast_ray.ray_backend.executor import RayExecutor
    from ast_ray.ray_backend.session import ray_session

    short, long = 10, 60
    base = apply_overrides(base, {"evaluate.passes": 10, "validate_networks": 1})  # the last iteration validates
    times: dict[str, list[float]] = {"one process": [], "two actors": []}
    starts = []
    with ray_session(ComputeConfig(device="cpu")) as capacity:
        for number in range(rounds):
            for name in list(times) if number % 2 else list(times)[::-1]:
                seconds = []
                for iterations in (short, long):
                    place = folder / f"timing-{number}-{name.replace(' ', '-')}"
                    work = job(base, place, data, segments=2, iterations=iterations, validate_every=0)
                    work = dataclasses.replace(
                        work,
                        buffer=dataclasses.replace(work.buffer, folder=folder / "experts" / work.buffer.fingerprint),
                    )
                    executor = SerialExecutor(Silent()) if name == "one process" else RayExecutor(capacity, Silent())
                    began = time.perf_counter()
                    list(executor.run(distill, [work]))
                    seconds.append(time.perf_counter() - began)
                times[name].append((seconds[1] - seconds[0]) / (long - short))
                print(
                    f"W = 2, {name}: {times[name][-1]:.4f} s per iteration, first 10 in {seconds[0]:.1f} s", flush=True
                )
                if name == "two actors":
                    starts.append(seconds[0])
    for name, values in times.items():
        print(f"W = 2, {name}: {spread(values)} per iteration")
    gain = ratio(times["one process"], times["two actors"])
    print(f"two actors are {told(gain)} as fast; {short} iterations with start-up: {statistics.median(starts):.1f} s")
    return {"seconds_per_iteration": times, "gain": gain, "start_and_10_iterations": starts}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--timing", type=int, default=0, metavar="ROUNDS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"iterations": options.iterations, "rows": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = apply_overrides(
            preset("digits"), {"run.methods": "ast", "compute.device": "cpu", "validate_networks": 3}
        )
        data = real_data(base.data, torch.device("cpu"))
        for seed in range(max(1, options.seeds)):
            seeded = dataclasses.replace(base, seed=seed)
            compute = dataclasses.replace(seeded.compute, store=str(folder / "experts"))
            plan = Plan(dataclasses.replace(seeded, compute=compute), data, RunDirectory(folder / "train"))
            train_buffers(plan, ["ast"], SerialExecutor(Silent()))
            if not options.seeds:
                break
            if seed == 0:
                figures["noise"] = gradient_noise(job(seeded, folder, data, segments=1, iterations=1))
                print("relative variance of the gradient:", figures["noise"])
            for width in WIDTHS:
                for kind, count in (
                    ("equal iterations", options.iterations),
                    ("equal segments", options.iterations // width),
                ):
                    if kind == "equal segments" and width == 1:
                        continue
                    row = accuracy(job(seeded, folder, data, segments=width, iterations=count, validate_every=0))
                    figures["rows"].append({"seed": seed, "segments": width, "kind": kind, "iterations": count, **row})
                    print(figures["rows"][-1], flush=True)
        if options.timing:
            figures["timing"] = timing(base, folder, data, options.timing)
    finish("segments", figures)


if __name__ == "__main__":
    main()
