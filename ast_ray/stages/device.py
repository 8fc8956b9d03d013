"""Prepare what every stage needs: the device, torch's threads, the real images, and how fast the machine computes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from ast_ray.config.cost import network_cost
from ast_ray.config.datasets import DATASETS
from ast_ray.config.settings import Config, DataConfig
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.core.networks import build
from ast_ray.core.precision import Precision, reproducible, tf32_allowed
from ast_ray.core.rng import stream
from ast_ray.data.parallel import Mapper, Progress, no_progress, threads
from ast_ray.data.real import RealData, images_to_decode, load_dataset, load_real_data
from ast_ray.errors import ResourceError

_SECONDS, _BATCH = 0.5, 64


@dataclass(frozen=True)
class Hardware:
    """Device name, workers that run side by side, and floating-point operations per second of each."""

    device: str
    workers: int
    rate: float


def measure(compute: ComputeConfig) -> Hardware:
    """Time forward and backward passes of the paper's ConvNet on CIFAR-10's shape: counted work over the time it takes.

    Estimates made with it leave out everything that is not arithmetic, and count on workers that do not slow each
    other down.
    """
    device = resolve_device(compute)
    config, facts = Config(), DATASETS["cifar10"]
    with torch_threads(compute.threads):
        network = build(config.network, (3, 32, 32), 10, stream(0, "hardware")).to(device)
        images = torch.zeros(_BATCH, 3, 32, 32, device=device)
        labels = torch.zeros(_BATCH, dtype=torch.int64, device=device)

        def work(count: int) -> float:
            began = time.perf_counter()
            for _ in range(count):
                F.cross_entropy(network(images), labels).backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter() - began

        work(1)
        count = max(1, int(_SECONDS / max(1e-4, work(1))))
        seconds = work(count)
    rate = 3 * network_cost(config, facts).forward * _BATCH * count / seconds
    if device.type == "cuda":
        return Hardware(torch.cuda.get_device_name(device), torch.cuda.device_count(), rate)
    return Hardware("CPU", compute.workers or max(1, cores() // compute.threads), rate)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_device(compute: ComputeConfig) -> torch.device:
    """Return the device of the settings.

    Raises:
        ResourceError: cuda asked for where there is none.
    """
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        raise ResourceError("compute.device = 'cuda': torch finds no GPU on this machine; use 'cpu' or 'auto'")
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")


@contextmanager
def torch_threads(count: int, *, precision: Precision = "float32") -> Iterator[None]:
    """Use ``count`` threads inside the block, the same bytes for the same work on a GPU, TF32 only by ``precision``.

    All are part of what makes bits reproducible, and torch's own default lets a GPU's convolutions round to TF32.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with reproducible(), tf32_allowed(precision == "tf32"):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=2)
def real_data(config: DataConfig, device: torch.device) -> RealData:
    """The real images, loaded once per process; on one thread, since the last bit of a sum depends on how many add."""
    with torch_threads(1):
        return load_real_data(config, device)


def prepare_images(
    config: DataConfig, *, mapper: Mapper = threads, progress: Progress = no_progress
) -> tuple[str, ...]:
    """Decode the images into the cache unless they are there; return what was left out, in words.

    Raises:
        DataError: the source cannot be read; ConfigError: it does not exist.
    """
    return load_dataset(config, mapper=mapper, progress=progress)[1].warnings


__all__ = ["images_to_decode", "prepare_images", "real_data", "resolve_device", "torch_threads"]
