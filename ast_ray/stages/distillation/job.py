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
    """One method's distillation."""

    method: str
    config: Config
    buffer: Buffer = field(hash=False)
    identity: Mapping[str, Any] = field(hash=False)
    output: str
    tensorboard: str

    @property
    def key(self) -> str:
        """The method's name."""
        return f"distill {self.method}"

    @property
    def needs(self) -> Resources:
        """A worker per segment, unless the settings ask for fewer."""
        segments = self.config.distill.segments
        return Resources(members=min(segments, self.config.compute.distill_workers or segments))

    @property
    def directory(self) -> MethodDirectory:
        """The folder of its artefacts."""
        return MethodDirectory(Path(self.output))
