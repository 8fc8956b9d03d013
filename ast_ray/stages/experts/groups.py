"""Train several experts of a buffer at once and publish each one's trajectory, a file per expert as always.

A group is a fixed range of expert numbers (`stages.ensembles`): one that lost some of its files is trained whole, and
only those are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ast_ray.config.engine import choose_expert_engine, forward_work
from ast_ray.config.settings import Config
from ast_ray.core.experts.training import Outcome, train_experts_together
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.vmapped import activation_bytes
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.engine import machine
from ast_ray.stages.ensembles import ranges, that_fit
from ast_ray.stages.executor import Resources
from ast_ray.stages.experts.recording import Recording
from ast_ray.stages.experts.train import (
    ExpertJob,
    expert_network,
    log_curves,
    recording_of,
    state_on,
    statistics_of,
    train_one_expert,
)
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.telemetry.progress import ProgressSink, Update

# Forward operations of a step from which several experts at once are slower than one by one: on an H200 8 experts of
# 26 billion took 1.4 times as long at once, and 5 networks of 1 billion half as long.
_FILLS_A_GPU = 5e9


@dataclass(frozen=True)
class ExpertGroup:
    """Missing experts of one group, and the numbers of all its members."""

    jobs: tuple[ExpertJob, ...]
    members: tuple[int, ...]

    @property
    def needs(self) -> Resources:
        """The resources of all members together."""
        return Resources(gpu_memory=len(self.members) * self.jobs[0].gpu_memory)

    @property
    def buffer(self) -> Buffer:
        """The buffer of the experts."""
        return self.jobs[0].buffer

    @property
    def key(self) -> str:
        """The only expert's key, or the range."""
        first, last = self.jobs[0], self.jobs[-1]
        return first.key if len(self.jobs) == 1 else f"{first.key} to {last.expert_id}"


def group(jobs: Sequence[ExpertJob], together: int) -> list[ExpertGroup]:
    """Put the missing experts of a buffer into groups of ``together`` numbers."""
    found = ranges(jobs, together, count=jobs[0].config.expert.count, number=lambda job: job.expert_id)
    return [ExpertGroup(missing, members) for missing, members in found]


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


def train_group(experts: ExpertGroup, sink: ProgressSink) -> str:
    """Train the missing experts of a group unless their files are there; return the group's key.

    An expert that diverges leaves no file and does not keep the others from theirs.

    Raises:
        DivergenceError: the first expert that diverged, once the others are published; see `train_one_expert` too.
    """
    if len(experts.members) == 1:
        return train_one_expert(experts.jobs[0], sink)
    jobs = [job for job in experts.jobs if not job.buffer.has(job.expert_id)]
    if not jobs:
        return experts.key
    config = jobs[0].config
    with torch_threads(config.compute.threads, precision=config.expert.expert_precision):
        data = real_data(config.data, resolve_device(config.compute))
        networks = [expert_network(config, data, number) for number in experts.members]
        scratch = expert_network(config, data, 0)  # statistics are measured with it, one expert after the other
        with ExitStack() as opened:
            recorded = {job.expert_id: opened.enter_context(_member(job, networks[0])) for job in jobs}
            for outcomes in _outcomes(config, data, networks, experts.members, recorded):
                _record(outcomes, recorded, scratch, data, sink)
    failures = [member.failure for member in recorded.values() if member.failure is not None]
    if failures:
        raise failures[0]
    return experts.key


@dataclass
class _Member:
    job: ExpertJob
    recording: Recording
    failure: DivergenceError | None = None


@contextmanager
def _member(job: ExpertJob, network: Network) -> Iterator[_Member]:
    """A recording that is published unless its own expert failed."""
    member = None
    try:
        with recording_of(job, FlatSpec.of(network).numel) as recording:
            member = _Member(job, recording)
            yield member
            if member.failure is not None:
                raise member.failure
        log_curves(job, recording)
    except DivergenceError as error:
        if member is None or member.failure is not error:
            raise


def _outcomes(
    config: Config,
    data: RealData,
    networks: Sequence[Network],
    members: Sequence[int],
    recorded: dict[int, _Member],
) -> Iterator[dict[int, Outcome]]:
    """The epochs still to be trained: all of them unless every member was kept at the same epoch."""
    found = [recorded[number].recording.start if number in recorded else None for number in members]
    starts = [state_on(start, data.train_images.device) for start in found if start is not None]
    same = len(starts) == len(members) and len({start.epoch for start in starts}) == 1
    return train_experts_together(
        networks,
        data.train_images,
        data.train_labels,
        config.expert,
        seed=config.seed,
        expert_ids=members,
        starts=starts if same else None,
    )


def _record(
    outcomes: dict[int, Outcome], recorded: dict[int, _Member], network: Network, data: RealData, sink: ProgressSink
) -> None:
    """Add an epoch to every recording that does not have it yet; all are kept at the same epochs."""
    keep = any(member.recording.due for member in recorded.values())
    spec = FlatSpec.of(network)
    for number, outcome in outcomes.items():
        member = recorded.get(number)
        if member is None:
            continue
        if isinstance(outcome, DivergenceError):
            member.failure = outcome
            continue
        recording, epochs = member.recording, member.job.config.expert.epochs
        if outcome.epoch < len(recording.statistics):
            continue
        statistics = statistics_of(outcome, recording.move(outcome.theta), network, spec, data)
        recording.add(outcome, statistics, final=outcome.epoch == epochs, keep=keep)
        note = f"accuracy {statistics['validation_accuracy']:.1%}"
        sink.update(Update(member.job.key, outcome.epoch, epochs, note))


def grouped(jobs: Sequence[ExpertJob], data: RealData) -> list[ExpertJob | ExpertGroup]:
    """Groups of missing experts, each buffer's as large as its own settings say; one of a single expert is its job."""
    buffers: dict[Path, list[ExpertJob]] = {}
    for job in jobs:
        buffers.setdefault(job.buffer.folder, []).append(job)
    found: list[ExpertJob | ExpertGroup] = []
    for wanted in buffers.values():
        for experts in group(wanted, experts_together(wanted[0].config, data)):
            found.append(experts if len(experts.members) > 1 else experts.jobs[0])
    return found
