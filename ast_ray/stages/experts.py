"""Train one expert and publish its trajectory (Algorithm 1 with its bookkeeping)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ast_ray.config.settings import Config
from ast_ray.core.evaluation import score
from ast_ray.core.expert import EpochRecord, train_expert
from ast_ray.core.flat_params import FlatSpec, load
from ast_ray.core.networks import Network, build
from ast_ray.core.rng import stream
from ast_ray.data.real import RealData
from ast_ray.stages.context import real_data, resolve_device, torch_threads
from ast_ray.store.buffer import Buffer
from ast_ray.store.trajectory import TrajectoryWriter
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.tensorboard import log_expert


@dataclass(frozen=True)
class ExpertJob:
    """One expert of one buffer."""

    config: Config
    buffer_folder: str
    identity: Mapping[str, Any] = field(hash=False)
    expert_id: int
    tensorboard: str
    label: str = "expert"

    @property
    def key(self) -> str:
        """Method and number."""
        return f"{self.label} {self.expert_id}"

    @property
    def buffer(self) -> Buffer:
        """The buffer this expert belongs to."""
        return Buffer(Path(self.buffer_folder), self.identity, self.config.expert.count)


def train_one_expert(job: ExpertJob, sink: ProgressSink) -> str:
    """Train the expert unless its file is there already; return the job's key.

    The file appears only when it is complete. Streams derive from (seed, id, epoch), so a second attempt after a lost
    worker writes the same bytes.
    """
    config, buffer = job.config, job.buffer
    if buffer.has(job.expert_id):
        return job.key
    with torch_threads(config.compute.threads):
        data = real_data(config.data, resolve_device(config.compute))
        network = expert_network(config, data, job.expert_id)
        spec = FlatSpec.of(network)
        records = train_expert(
            network, data.train_images, data.train_labels, config.expert, seed=config.seed, expert_id=job.expert_id
        )
        metadata = {"fingerprint": buffer.fingerprint, "expert_id": job.expert_id, "identity": dict(job.identity)}
        curves: list[Mapping[str, float]] = []
        previous: torch.Tensor | None = None
        with TrajectoryWriter.create(
            buffer.path(job.expert_id), spec.numel, metadata, storage=config.expert.storage
        ) as writer:
            for record in records:
                move = float("nan") if previous is None else float((record.theta - previous).square().sum())
                metrics = _metrics(record, move, network, spec, data)
                writer.append(record.epoch, record.theta.cpu().numpy(), metrics)
                curves.append({f"expert/{name}": value for name, value in metrics.items()})
                previous = record.theta
                note = f"accuracy {metrics['validation_accuracy']:.1%}"
                sink.update(Update(job.key, record.epoch, config.expert.epochs, note))
        log_expert(Path(job.tensorboard), curves)
    return job.key


def expert_network(config: Config, data: RealData, expert_id: int) -> Network:
    """The expert's network at epoch 0, initialised from (seed, "expert", id, "init")."""
    generator = stream(config.seed, "expert", expert_id, "init")
    return build(config.network, data.image_shape, data.classes, generator).to(data.train_images.device)


def _metrics(record: EpochRecord, move: float, network: Network, spec: FlatSpec, data: RealData) -> dict[str, float]:
    load(network, spec, record.theta)
    held_out = score(network, data.validation_images, data.validation_labels)
    return {
        "train_loss": record.train_loss,
        "penalty": record.penalty,
        "validation_accuracy": held_out.accuracy,
        "move": move,
    }
