"""Train one expert and publish its trajectory (Algorithm 1 with its bookkeeping)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ast_ray.config.settings import Config
from ast_ray.core.experts.training import EpochRecord, ExpertState, train_expert
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream
from ast_ray.core.training import score
from ast_ray.data.real import RealData
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.engine import build_expert_step
from ast_ray.stages.executor import Resources
from ast_ray.stages.experts.recording import Recording
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.tensorboard import log_expert


@dataclass(frozen=True)
class ExpertJob:
    """One expert of one buffer."""

    config: Config
    buffer: Buffer = field(hash=False)
    expert_id: int
    tensorboard: str
    label: str = "expert"
    gpu_memory: int = 0

    @property
    def needs(self) -> Resources:
        """One worker, on a GPU that it may share."""
        return Resources(gpu_memory=self.gpu_memory)

    @property
    def key(self) -> str:
        """Method and number."""
        return f"{self.label} {self.expert_id}"


def train_one_expert(job: ExpertJob, sink: ProgressSink) -> str:
    """Train the expert unless its file is there already; return the job's key.

    The file appears only when it is complete. Until then finished epochs are kept beside it, and a second attempt after
    a lost worker goes on from them; streams derive from (seed, id, epoch), so it writes the same bytes.

    Raises:
        DivergenceError: see `train_expert`; ResourceError: the experts' folder is gone or cannot be written.
    """
    config, buffer = job.config, job.buffer
    if buffer.has(job.expert_id):
        return job.key
    with torch_threads(config.compute.threads, precision=config.expert.expert_precision):
        data = real_data(config.data, resolve_device(config.compute))
        network = expert_network(config, data, job.expert_id)
        spec = FlatSpec.of(network)
        with recording_of(job, spec.numel) as recording:
            for record in _records(job, data, network, recording.start):
                statistics = statistics_of(record, recording.move(record.theta), network, spec, data)
                recording.add(record, statistics, final=record.epoch == config.expert.epochs)
                note = f"accuracy {statistics['validation_accuracy']:.1%}"
                sink.update(Update(job.key, record.epoch, config.expert.epochs, note))
        log_curves(job, recording)
    return job.key


def recording_of(job: ExpertJob, parameters: int) -> AbstractContextManager[Recording]:
    """Open the expert's recording; see `Recording.open`."""
    buffer, seconds = job.buffer, job.config.compute.checkpoint_seconds
    metadata = {"fingerprint": buffer.fingerprint, "expert_id": job.expert_id, "identity": dict(buffer.identity)}
    how = job.config.expert.storage
    return Recording.open(buffer, job.expert_id, metadata, parameters=parameters, seconds=seconds, storage=how)


def log_curves(job: ExpertJob, recording: Recording) -> None:
    """Write a finished expert's curves for TensorBoard."""
    curves = [{f"expert/{name}": value for name, value in row.items()} for row in recording.statistics]
    log_expert(Path(job.tensorboard), curves)


def _records(job: ExpertJob, data: RealData, network: Network, start: ExpertState | None) -> Iterator[EpochRecord]:
    """The epochs that are still to be trained."""
    start = None if start is None else state_on(start, data.train_images.device)
    return train_expert(
        network,
        data.train_images,
        data.train_labels,
        job.config.expert,
        seed=job.config.seed,
        expert_id=job.expert_id,
        start=start,
        step=build_expert_step(network, job.config, data.image_shape, data.classes, len(data.train_labels)),
    )


def state_on(start: ExpertState, device: torch.device) -> ExpertState:
    """The state with its tensors on a device."""
    return ExpertState(start.epoch, start.theta.to(device), start.velocity.to(device))


def expert_network(config: Config, data: RealData, expert_id: int) -> Network:
    """The expert's network at epoch 0, initialised from (seed, "expert", id, "init")."""
    generator = stream(config.seed, "expert", expert_id, "init")
    return build(config.network, data.image_shape, data.classes, generator).to(data.train_images.device)


def statistics_of(
    record: EpochRecord, move: float, network: Network, spec: FlatSpec, data: RealData
) -> dict[str, float]:
    """Return the statistics recorded of an epoch beside theta; loads theta into the network."""
    load(network, spec, record.theta)
    held_out = score(network, data.validation_images, data.validation_labels)
    return {
        "train_loss": record.train_loss,
        "penalty": record.penalty,
        "validation_accuracy": held_out.accuracy,
        "move": move,
    }
