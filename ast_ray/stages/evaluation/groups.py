"""Train several networks of the final evaluation at once and publish each one's row, a file per network as always.

A group is a fixed range of the networks of one set, architecture and protocol (`stages.ensembles`): one that lost some
of its rows is trained whole, and only those are written. Alone remain networks with images of their own (random real
ones), those looked at after passes (``peak``), and those that are more than their weights (batch norm).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ast_ray.config.settings import Config
from ast_ray.core.networks import build
from ast_ray.core.training import TrainingAccuracy, require_finite_loss, score
from ast_ray.core.vmapped import activation_bytes, is_stateless
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.ensembles import ranges, that_fit
from ast_ray.stages.evaluation.evaluate import EvaluationJob, diverged, fetched_row, network_config, publish_row
from ast_ray.stages.evaluation.rows import networks_of
from ast_ray.stages.evaluation.training_sets import batch_size
from ast_ray.stages.evaluation.validation import train_together
from ast_ray.stages.executor import Resources
from ast_ray.telemetry.progress import ProgressSink


@dataclass(frozen=True)
class EvaluationGroup:
    """Networks of one group whose rows are missing, and the numbers of all its members."""

    jobs: tuple[EvaluationJob, ...]
    members: tuple[int, ...]

    @property
    def needs(self) -> Resources:
        """The resources of all members together."""
        return Resources(gpu_memory=len(self.members) * self.jobs[0].gpu_memory)

    @property
    def key(self) -> str:
        """The only missing network's key, or the range."""
        first, last = self.jobs[0], self.jobs[-1]
        return first.key if len(self.jobs) == 1 else f"{first.key} to {last.index}"


def networks_at_once(
    config: Config, data: RealData, source: str, protocol: str, architecture: str, *, images: int
) -> int:
    """Return how many networks a task trains at once on so many images: as set, else by the device and its memory.

    ``architecture`` is a network's name, empty for the settings' own.
    """
    count, asked = networks_of(config, source), config.compute.networks_together
    on_gpu = torch.cuda.is_available() and config.compute.device != "cpu"
    if protocol == "peak" or source == "random" or asked == 1 or not (asked or on_gpu):
        return 1
    network = build(network_config(config, architecture), data.image_shape, data.classes, torch.Generator())
    if not is_stateless(network):
        return 1
    if asked:
        return min(asked, count)
    image = activation_bytes(network, data.image_shape, penalty=False)
    step = image * min(images, batch_size(source, protocol, config))
    return min(count, that_fit(config.compute, step, torch.device("cuda")))


def grouped_networks(jobs: Sequence[EvaluationJob]) -> list[EvaluationJob | EvaluationGroup]:
    """Groups of networks without rows, as large as the jobs say; a group of a single network is its job."""
    kinds: dict[tuple[Path, str, str, str], list[EvaluationJob]] = {}
    for job in jobs:
        kinds.setdefault((Path(job.row).parent, job.set_name, job.architecture, job.protocol), []).append(job)
    found: list[EvaluationJob | EvaluationGroup] = []
    for missing in kinds.values():
        count = networks_of(missing[0].config, missing[0].source)
        for wanted, members in ranges(missing, missing[0].together, count=count, number=lambda job: job.index):
            found.append(EvaluationGroup(wanted, members) if len(members) > 1 else wanted[0])
    return found


def evaluate_group(group: EvaluationGroup, _sink: ProgressSink) -> list[dict[str, Any]]:
    """Train a group's networks on its set, score the missing ones on the whole test set, publish and return their rows.

    A network that diverges leaves no row and does not keep the others from theirs.

    Raises:
        DivergenceError: of the first network that diverged, once the others are published; names set and network.
    """
    rows = {job.index: fetched_row(job) for job in group.jobs}
    missing = [job for job in group.jobs if rows[job.index] is None]
    if missing:
        rows |= _published(missing, group.members)
    return [row for row in rows.values() if row is not None]


def _published(missing: Sequence[EvaluationJob], members: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Rows of the missing networks by number, each with an equal share of the group's time."""
    began, first = time.perf_counter(), missing[0]
    config = first.config
    failures = []
    scores = {}
    with torch_threads(config.compute.threads):
        data = real_data(config.data, resolve_device(config.compute))
        training = first.training(data)
        watches = [TrainingAccuracy() for _ in members] if first.source == "full" else []
        trained = train_together(
            config, data, *training[:3], role=first.streams, indices=members, network=first.network, watches=watches
        )
        networks, watched = dict(zip(members, trained, strict=True)), dict(zip(members, watches, strict=False))
        for job in missing:
            network, loss = networks[job.index]
            try:
                require_finite_loss(loss, training.recipe)
            except DivergenceError as error:
                failures.append(diverged(job, error))
            else:
                found = score(network, data.test_images, data.test_labels)
                trend = watched[job.index].trend() if watched else None
                scores[job.index] = dataclasses.replace(found, trend=trend)
    seconds = (time.perf_counter() - began) / len(members)
    rows = {
        job.index: publish_row(job, data, training, scores[job.index], seconds=seconds)
        for job in missing
        if job.index in scores
    }
    if failures:
        raise failures[0]
    return rows
