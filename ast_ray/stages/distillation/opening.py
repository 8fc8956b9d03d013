"""Build what a distillation is made from: its network, its initial images, and experts or real images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ast_ray.config.engine import Choice
from ast_ray.config.settings import Config
from ast_ray.core.methods.base import Sources
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream
from ast_ray.core.selection import initial_images
from ast_ray.data.real import RealData
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.prefetch import Prefetching
from ast_ray.stages.distillation.team import Team
from ast_ray.stages.engine import open_engine
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.telemetry.progress import ProgressSink


@dataclass(frozen=True)
class Opened:
    """The sources of a method with initial images [S, C, H, W].

    ``experts``, which read ahead, and the ``choice`` of an engine for the student are those of methods that match
    experts; None for others.
    """

    sources: Sources
    images: Tensor
    experts: Prefetching | None = None
    choice: Choice | None = None


def open_distillation(job: DistillJob, data: RealData, team: Team, sink: ProgressSink) -> Opened:
    """Build network and initial images; open the experts with an engine for the student, or hand in the real images.

    Raises:
        ConfigError, ResourceError: see `stages.engine.open_engine`; StoreError: an expert is missing or damaged.
    """
    config, device = job.config, data.train_images.device
    network = build(config.network, data.image_shape, data.classes, stream(config.seed, "distill", "layout")).to(device)
    images, labels = start_images(config, data, job.buffer, network)
    sources = Sources(config, network, labels, data.classes, image_std=data.image_std)
    if job.buffer is None:
        return Opened(replace(sources, real_images=data.train_images, real_labels=data.train_labels), images)
    experts = Prefetching(job.buffer, config.distill, config.seed, team.places(config.distill))
    choice, engine, note = open_engine(config, data, network)
    if note:
        sink.say(f"{job.name}: {note}")
    settings = replace(config, distill=replace(config.distill, gradient=choice.method))
    return Opened(replace(sources, config=settings, experts=experts, engine=engine), images, experts, choice)


def start_images(config: Config, data: RealData, buffer: Buffer | None, network: Network) -> tuple[Tensor, Tensor]:
    """Initial images and labels; features of representative ones are expert 0's at its last recorded epoch."""
    if config.distill.init == "representative":
        assert buffer is not None, "methods without experts start from random real images or noise"
        (theta,) = buffer.segment(0, config.expert.epochs, 0)
        load(network, FlatSpec.of(network), theta.to(data.train_images.device))
    return initial_images(
        config.distill.init,
        data.train_images,
        data.train_labels,
        data.classes,
        config.distill.ipc,
        seed=config.seed,
        network=network,
        clusters=config.distill.init_clusters,
    )
