"""Train experts, one or several at once, and publish each one's trajectory (Algorithm 1 with its bookkeeping).

Several are a fixed range of expert numbers (`stages.ensembles`): one that lost some of its files is trained whole, and
only those are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ast_ray.config.settings import Config
from ast_ray.core.experts.training import (
    EpochRecord,
    ExpertState,
    Outcome,
    train_expert,
    train_experts_together,
)
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream
from ast_ray.core.training import score
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.engine import build_expert_step
from ast_ray.stages.ensembles import fixed_range
from ast_ray.stages.executor import Resources
from ast_ray.stages.experts.recording import Recording
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.tensorboard import log_expert


@dataclass(frozen=True)
class ExpertJob:
    """Experts of one buffer that a task is to train: one, or several of one fixed range.

    ``ids`` are the experts to publish. ``together`` is the size of the range: all its experts are trained, also those
    that are there already. ``tensorboard`` is the folder of an expert's curves but for its number, and ``gpu_memory``
    an estimate of one expert's bytes.
    """

    config: Config
    buffer: Buffer = field(hash=False)
    ids: tuple[int, ...]
    tensorboard: str
    label: str = "expert"
    gpu_memory: int = 0
    together: int = 1

    @property
    def trained(self) -> tuple[int, ...]:
        """The numbers of all experts that are trained at once, ``ids`` among them."""
        return fixed_range(self.ids, self.together, self.config.expert.count)

    @property
    def needs(self) -> Resources:
        """One worker, on a GPU that it may share."""
        return Resources(gpu_memory=len(self.trained) * self.gpu_memory)

    @property
    def key(self) -> str:
        """The only expert's key, or the range."""
        first, last = self.ids[0], self.ids[-1]
        return self.key_of(first) if len(self.ids) == 1 else f"{self.key_of(first)} to {last}"

    def key_of(self, expert_id: int) -> str:
        """Method and number."""
        return f"{self.label} {expert_id}"

    def board(self, expert_id: int) -> Path:
        """The folder of an expert's curves."""
        return Path(f"{self.tensorboard}-{expert_id:05d}")


def train_experts(job: ExpertJob, sink: ProgressSink) -> str:
    """Train the experts of a job whose files are not there; return the job's key.

    A file appears only when it is complete. Until then finished epochs are kept beside it, and a second attempt after
    a lost worker goes on from them; streams derive from (seed, id, epoch), so it writes the same bytes. An expert that
    diverges leaves no file and does not keep those beside it from theirs.

    Raises:
        DivergenceError: of the first expert that diverged, once the others are published; see `train_expert`.
        ResourceError: the experts' folder is gone or cannot be written.
    """
    config, missing = job.config, [number for number in job.ids if not job.buffer.has(number)]
    if not missing:
        return job.key
    with torch_threads(config.compute.threads, precision=config.expert.expert_precision):
        data = real_data(config.data, resolve_device(config.compute))
        networks = [expert_network(config, data, number) for number in job.trained]
        # Scoring puts a network into evaluation mode, which the template of several must not be in.
        scored = networks[0] if len(networks) == 1 else expert_network(config, data, 0)
        spec = FlatSpec.of(scored)
        with ExitStack() as opened:
            recorded = {number: opened.enter_context(_recorded(job, number, spec.numel)) for number in missing}
            for outcomes in _outcomes(job, data, networks, recorded):
                _record(job, outcomes, recorded, scored, spec, data, sink)
    failures = [expert.failure for expert in recorded.values() if expert.failure is not None]
    if failures:
        raise failures[0]
    return job.key


@dataclass
class _Recorded:
    """An expert's recording, and why it ended early."""

    recording: Recording
    failure: DivergenceError | None = None


@contextmanager
def _recorded(job: ExpertJob, expert_id: int, parameters: int) -> Iterator[_Recorded]:
    """A recording that is published with its curves unless its own expert failed."""
    buffer, expert = job.buffer, None
    metadata = {"fingerprint": buffer.fingerprint, "expert_id": expert_id, "identity": dict(buffer.identity)}
    try:
        with Recording.open(
            buffer,
            expert_id,
            metadata,
            parameters=parameters,
            seconds=job.config.compute.checkpoint_seconds,
            storage=job.config.expert.storage,
        ) as recording:
            expert = _Recorded(recording)
            yield expert
            if expert.failure is not None:
                raise expert.failure
    except DivergenceError as error:
        if expert is None or expert.failure is not error:
            raise
    else:
        curves = [{f"expert/{name}": value for name, value in row.items()} for row in recording.statistics]
        log_expert(job.board(expert_id), curves)


def _outcomes(
    job: ExpertJob, data: RealData, networks: Sequence[Network], recorded: Mapping[int, _Recorded]
) -> Iterator[Mapping[int, Outcome]]:
    """The epochs still to be trained: all of them unless every expert was kept at the same epoch."""
    config, device = job.config, data.train_images.device
    kept = [recorded[number].recording.start for number in job.trained if number in recorded]
    found = [state_on(start, device) for start in kept if start is not None]
    same = len(found) == len(networks) and len({start.epoch for start in found}) == 1
    images, labels = data.train_images, data.train_labels
    if len(networks) > 1:
        yield from train_experts_together(
            networks,
            images,
            labels,
            config.expert,
            seed=config.seed,
            expert_ids=job.trained,
            starts=found if same else None,
        )
        return
    records = train_expert(
        networks[0],
        images,
        labels,
        config.expert,
        seed=config.seed,
        expert_id=job.trained[0],
        start=found[0] if same else None,
        step=build_expert_step(networks[0], config, data.image_shape, data.classes, len(labels)),
    )
    try:
        for record in records:
            yield {job.trained[0]: record}
    except DivergenceError as error:
        yield {job.trained[0]: error}


def _record(
    job: ExpertJob,
    outcomes: Mapping[int, Outcome],
    recorded: Mapping[int, _Recorded],
    network: Network,
    spec: FlatSpec,
    data: RealData,
    sink: ProgressSink,
) -> None:
    """Add an epoch to every recording that does not have it yet; all are kept at the same epochs."""
    keep, epochs = any(expert.recording.due for expert in recorded.values()), job.config.expert.epochs
    for number, expert in recorded.items():
        outcome, recording = outcomes.get(number), expert.recording
        if isinstance(outcome, DivergenceError):
            expert.failure = outcome
        elif outcome is not None and outcome.epoch >= len(recording.statistics):
            statistics = statistics_of(outcome, recording.move(outcome.theta), network, spec, data)
            recording.add(outcome, statistics, final=outcome.epoch == epochs, keep=keep)
            note = f"accuracy {statistics['validation_accuracy']:.1%}"
            sink.update(Update(job.key_of(number), outcome.epoch, epochs, note))


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
