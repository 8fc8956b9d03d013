"""The description of one distillation: what is distilled from which experts, and where it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast_ray.config.settings import Config
from ast_ray.stages.executor import Resources
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.run_directory import MethodDirectory


@dataclass(frozen=True)
class DistillJob:
    """One method's distillation; ``buffer`` is None where it needs no experts, ``title`` its name in messages."""

    method: str
    config: Config
    buffer: Buffer | None = field(hash=False)
    identity: Mapping[str, Any] = field(hash=False)
    output: str
    tensorboard: str
    title: str = ""

    @property
    def name(self) -> str:
        """The name in messages and in what is published: the method's, unless the job has one of its own."""
        return self.title or self.method

    @property
    def key(self) -> str:
        """The job's name in progress."""
        return f"distill {self.name}"

    @property
    def needs(self) -> Resources:
        """A worker per segment, unless the settings ask for fewer; one for a method without experts."""
        segments = self.config.distill.segments if self.buffer is not None else 1
        return Resources(members=min(segments, self.config.compute.distill_workers or segments))

    @property
    def directory(self) -> MethodDirectory:
        """The folder of its artefacts."""
        return MethodDirectory(Path(self.output))
