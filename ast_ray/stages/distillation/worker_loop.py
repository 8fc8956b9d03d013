"""A team member that is not the first: takes its share of every iteration, writes nothing, needs no real images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ast_ray.config.engine import Choice
from ast_ray.core.methods.base import Sources, State
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.methods.registry import open_problem
from ast_ray.core.networks import build
from ast_ray.core.rng import stream
from ast_ray.stages.device import resolve_device, torch_threads
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.prefetch import Prefetching
from ast_ray.stages.distillation.team import Team
from ast_ray.stages.engine import build_engine


def start_of(labels: Tensor, image_std: float, state: State, classes: int, choice: Choice) -> dict[str, Any]:
    """Return what the others need to join: labels, number of classes, engine and the state, tensors on the CPU."""
    shared = {"labels": labels.cpu(), "state": state.on(torch.device("cpu")), "image_std": image_std}
    return {**shared, "classes": classes, "choice": choice}


def follow(job: DistillJob, team: Team) -> None:
    """Take part until the last iteration, from wherever member 0 begins.

    Raises:
        DivergenceError: as on every member; StoreError: experts missing or damaged; WorkerLostError: a member is gone.
    """
    config = job.config
    with torch_threads(config.compute.threads, precision=config.distill.precision):
        device = resolve_device(config.compute)
        start = team.share(None)
        state: State = start["state"].on(device)
        _, channels, height, width = state.images.shape
        generator = stream(config.seed, "distill", "layout")
        network = build(config.network, (channels, height, width), start["classes"], generator).to(device)
        assert job.buffer is not None, "only methods with experts have teams"
        experts = Prefetching(job.buffer, config.distill, config.seed, team.places(config.distill))
        choice: Choice = start["choice"]  # the first member's, so that all round alike
        engine = build_engine(choice, network, config)
        settings = replace(config, distill=replace(config.distill, gradient=choice.method))
        labels, classes = start["labels"].to(device), start["classes"]
        sources = Sources(settings, network, labels, classes, experts, engine=engine, image_std=start["image_std"])
        problem = open_problem(job.method, sources)
        while state.iteration < config.distill.iterations:
            if state.iteration + 1 < config.distill.iterations:
                experts.look_ahead(state.iteration + 1, state.numbers["last_start_epoch"])
            state, _ = iterate(problem, state, team.match)
