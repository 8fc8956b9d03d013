"""What every benchmark shares: alternating timing, ratios with spread, the machine's floor, and one JSON line last.

Two sides of a comparison are timed in turns within one run, so that a machine that slows down slows down both. The
floor is what one large convolution or matrix product reaches on this machine in the same run.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ast_ray.core.precision import Precision, reproducible, tf32_allowed


@contextmanager
def as_in_a_run(precision: Precision = "float32") -> Iterator[None]:
    """Inside the block a GPU computes as in a stage: the same bytes for the same work, TF32 only by ``precision``."""
    with reproducible(), tf32_allowed(precision == "tf32"):
        yield


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call, work on the GPU included."""
    synchronize()
    began = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - began


def alternate(callables: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Call each once unmeasured, then all of them in turns for ``rounds`` rounds, the order turning; return seconds."""
    for call in callables.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in callables}
    names = list(callables)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(seconds(callables[name]))
    return times


def ratio(baseline: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """How many times faster ours is: the median of the rounds' ratios, with the least and the greatest of them."""
    found = [theirs / mine for theirs, mine in zip(baseline, ours, strict=True)]
    return {"median": statistics.median(found), "low": min(found), "high": max(found)}


def told(found: Mapping[str, float]) -> str:
    """A ratio in words."""
    return f"{found['median']:.2f}x ({found['low']:.2f} to {found['high']:.2f})"


def spread(times: Sequence[float]) -> str:
    """Median seconds with the least and the greatest, in words."""
    return f"{statistics.median(times):.4f} s ({min(times):.4f} to {max(times):.4f})"


@tf32_allowed(False)
def conv_rate(device: str = "cpu", *, width: int = 128, side: int = 16, batch: int = 64, rounds: int = 5) -> float:
    """Floating-point operations per second of one large 3x3 convolution (float32, forward): the better layout."""
    work = 2.0 * 9 * width * width * side * side * batch
    rates = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(batch, width, side, side, device=device).contiguous(memory_format=layout)
        weight = torch.randn(width, width, 3, 3, device=device).contiguous(memory_format=layout)
        rates.append(work / _best(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1), rounds))  # type: ignore[misc]
    return max(rates)


def matmul_rate(device: str = "cpu", *, size: int = 2048, rounds: int = 5) -> float:
    """Floating-point operations per second of one large matrix product (float32), the best of some rounds."""
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    return 2.0 * size**3 / _best(lambda: a @ b, rounds)


def _best(call: Callable[[], object], rounds: int) -> float:
    """Least seconds per call; each round repeats the call for a tenth of a second, so that GPU launches overlap."""
    call()
    repeats = max(1, int(0.1 / max(1e-6, seconds(call))))

    def several() -> None:
        for _ in range(repeats):
            call()

    return min(seconds(several) for _ in range(rounds)) / repeats


def hardware() -> dict[str, Any]:
    """The machine, its threads, versions and the date."""
    found: dict[str, Any] = {"cpu": _cpu(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    found["date"] = date.today().isoformat()
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def finish(name: str, figures: Mapping[str, Any]) -> None:
    """Print the benchmark's one JSON line, the last it prints."""
    print(json.dumps({"benchmark": name, **figures, "hardware": hardware()}))
