"""How fast this machine is at the arithmetic of experts and students, measured in about a second."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ast_ray.config.cost import network_cost
from ast_ray.config.datasets import DATASETS
from ast_ray.config.settings import ComputeConfig, Config
from ast_ray.core.networks import build
from ast_ray.core.rng import stream
from ast_ray.stages.device import resolve_device, torch_threads

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
