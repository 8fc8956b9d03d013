"""One expert being recorded: its growing trajectory, its curves, and what a killed worker's successor starts from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ast_ray.core.experts.training import EpochRecord, ExpertState
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.partial_trajectory import PartialTrajectory, TrajectoryShard
from ast_ray.storage.trajectory import Storage, TrajectoryWriter


class Recording:
    """Takes epochs in order; made by `Recording.open`."""

    def __init__(self, writer: TrajectoryWriter, buffer: Buffer, progress: PartialTrajectory, seconds: float) -> None:
        self._writer = writer
        self._buffer = buffer
        self._progress = progress
        self._seconds = seconds
        self._waiting: list[tuple[int, Tensor, Mapping[str, float]]] = []
        self._saved = time.monotonic()
        self._last: Tensor | None = None
        self.start: ExpertState | None = None
        self.statistics: list[Mapping[str, float]] = []

    @classmethod
    @contextmanager
    def open(
        cls,
        buffer: Buffer,
        expert_id: int,
        metadata: Mapping[str, Any],
        *,
        parameters: int,
        seconds: float,
        storage: Storage,
    ) -> Iterator[Recording]:
        """Go on from the parts that are there; publish when the block ends without an error, then drop the parts.

        Finished epochs are kept every ``seconds`` seconds, at the end of an epoch: a killed worker loses the epoch it
        was in, and those that ended less than ``seconds`` after the last time.

        Raises:
            ResourceError: the buffer's folder is gone or was never visible here, or cannot be written.
        """
        buffer.require()
        progress = buffer.progress(expert_id)
        with TrajectoryWriter.create(buffer.path(expert_id), parameters, metadata, storage=storage) as writer:
            recording = cls(writer, buffer, progress, seconds)
            recording._replay(progress.parts(parameters))
            yield recording
            buffer.require()
        progress.remove()

    def _replay(self, parts: Iterator[TrajectoryShard]) -> None:
        for part in parts:
            for offset, (theta, statistics) in enumerate(zip(part.theta, part.statistics, strict=True)):
                self._append(part.first + offset, theta, statistics)
            self.start = ExpertState(part.last, part.theta[-1].clone(), part.velocity.clone())

    def move(self, theta: Tensor) -> float:
        """Squared distance from the last epoch's theta; NaN at the first."""
        return float("nan") if self._last is None else float((theta - self._last.to(theta.device)).square().sum())

    @property
    def due(self) -> bool:
        """Return whether it is time to keep what is waiting."""
        return time.monotonic() - self._saved >= self._seconds

    def add(
        self, record: EpochRecord, statistics: Mapping[str, float], *, final: bool, keep: bool | None = None
    ) -> None:
        """Append an epoch; what is waiting is kept when it is time, the final epoch by being published.

        ``keep`` decides in place of the clock, for experts that must be kept at the same epochs.
        """
        theta = record.theta.cpu()
        self._append(record.epoch, theta, statistics)
        self._last = record.theta
        self._waiting.append((record.epoch, theta, statistics))
        if not final and (self.due if keep is None else keep):
            self._keep(record.velocity)

    def _append(self, epoch: int, theta: Tensor, statistics: Mapping[str, float]) -> None:
        self._writer.append(epoch, theta.numpy(), statistics)
        self.statistics.append(statistics)
        self._last = theta

    def _keep(self, velocity: Tensor) -> None:
        self._buffer.require()
        first = self._waiting[0][0]
        theta = torch.stack([theta for _, theta, _ in self._waiting])
        rows: Sequence[Mapping[str, float]] = [statistics for _, _, statistics in self._waiting]
        self._progress.write(TrajectoryShard(first, theta, rows, velocity))
        self._waiting.clear()
        self._saved = time.monotonic()
