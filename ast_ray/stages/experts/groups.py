"""Put missing experts into groups that one task trains at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from ast_ray.config.engine import choose_expert_engine, forward_work
from ast_ray.config.settings import Config
from ast_ray.core.vmapped import activation_bytes
from ast_ray.data.real import RealData
from ast_ray.stages.engine import machine
from ast_ray.stages.ensembles import in_ranges, that_fit
from ast_ray.stages.experts.train import ExpertJob, expert_network

# Forward operations of a step from which several experts at once are slower than one by one: on an H200 8 experts of
# 26 billion took 1.4 times as long at once, and 5 networks of 1 billion half as long.
_FILLS_A_GPU = 5e9


def experts_together(config: Config, data: RealData) -> int:
    """Return how many experts a task trains at once: as set, else by the device and its total memory.

    One on a CPU, where small runs gained nothing from more, by the compiled step, and where one step fills a GPU
    (benchmarks/experts.py).
    """
    if config.compute.experts_together:
        return min(config.compute.experts_together, config.expert.count)
    here = machine(config.compute)  # of whoever makes the jobs
    engine = choose_expert_engine(config, data.image_shape, len(data.train_labels), here)
    step = forward_work(config, data.image_shape) * config.expert.batch_size
    if here.device == "cpu" or engine == "compiled" or step >= _FILLS_A_GPU:
        return 1
    network = expert_network(config, data, 0)
    image = activation_bytes(network, data.image_shape, penalty=config.expert.penalty_weight > 0)
    return min(config.expert.count, that_fit(config.compute, image * config.expert.batch_size, torch.device("cuda")))


def grouped(jobs: Sequence[ExpertJob], data: RealData) -> list[ExpertJob]:
    """Join jobs of one buffer into jobs of fixed ranges, as large as the buffer's own settings say."""
    buffers: dict[Path, list[ExpertJob]] = {}
    for job in jobs:
        buffers.setdefault(job.buffer.folder, []).append(job)
    found = []
    for wanted in buffers.values():
        together = experts_together(wanted[0].config, data)
        numbers = [number for job in wanted for number in job.ids]
        found += [dataclasses.replace(wanted[0], ids=ids, together=together) for ids in in_ranges(numbers, together)]
    return found
