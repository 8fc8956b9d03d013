"""The partial trajectory a killed expert resumes from: its epochs as small files in a hidden folder beside it.

A part, ``.expert-00003/epochs-00004-00007.safetensors``, holds theta [n, P] and the statistics [n, 4] (float64) of its
n epochs, and the velocity [P] after the last of them. Every part is published whole, so the parts up to any one are
a state to go on from; nothing is ever rewritten. The folder goes when the trajectory is published.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from ast_ray.errors import ResourceError, StoreError
from ast_ray.storage import mirror
from ast_ray.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ast_ray.storage.trajectory import METRICS
from ast_ray.storage.typed import Count

PARTS = "epochs-*.safetensors"


class _First(TypedDict):
    """The values of a part."""

    first: Count


@dataclass(frozen=True, eq=False)
class TrajectoryShard:
    """Epochs ``first``, ``first + 1``, ...: theta [n, P], statistics one mapping per epoch, velocity [P] at the end."""

    first: int
    theta: Tensor
    statistics: Sequence[Mapping[str, float]]
    velocity: Tensor

    @property
    def last(self) -> int:
        """The epoch the velocity belongs to."""
        return self.first + len(self.theta) - 1


@dataclass(frozen=True)
class PartialTrajectory:
    """The parts of one expert that is not finished; ``identity`` is its buffer's fingerprint and its number."""

    folder: Path
    identity: str

    def write(self, part: TrajectoryShard) -> None:
        """Publish a part."""
        rows = [[row[name] for name in METRICS] for row in part.statistics]
        tensors = {
            "theta": part.theta,
            "velocity": part.velocity,
            "statistics": torch.tensor(rows, dtype=torch.float64),
        }
        path = self.folder / f"epochs-{part.first:05d}-{part.last:05d}.safetensors"
        write_checkpoint(path, Checkpoint(self.identity, tensors, {"first": part.first}))

    def parts(self, parameters: int | None = None) -> Iterator[TrajectoryShard]:
        """Yield epochs 0, 1, ... as far as they are there, each epoch once; unreadable parts count as missing.

        So do parts of experts with another number of ``parameters``, where it is given.

        Two writers of the same expert (a worker given up too early) leave parts that overlap; their epochs are the
        same bytes, so each part gives what is not known yet.
        """
        known = 0
        for path in mirror.listed(self.folder, PARTS):
            part = self._read(path, parameters)
            if part is None or part.last < known:
                continue
            if part.first > known:
                return
            new = known - part.first
            yield TrajectoryShard(known, part.theta[new:], part.statistics[new:], part.velocity)
            known = part.last + 1

    def _read(self, path: Path, parameters: int | None) -> TrajectoryShard | None:
        try:
            found = read_checkpoint(path, self.identity)
            if found is None:
                return None
            theta = found.tensors.get("theta", torch.empty(0, 0))
            epochs = max(1, len(theta)) if theta.ndim else 1
            parameters = parameters or (theta.shape[-1] if theta.ndim else 1)
            wanted = {
                "theta": (torch.float32, (epochs, parameters)),
                "velocity": (torch.float32, (parameters,)),
                "statistics": (torch.float64, (epochs, len(METRICS))),
            }
            found.require(wanted, _First)
        except StoreError:
            return None
        rows = [dict(zip(METRICS, row, strict=True)) for row in found.tensors["statistics"].tolist()]
        return TrajectoryShard(found.values["first"], theta, rows, found.tensors["velocity"])

    def remove(self) -> None:
        """Delete the parts: the trajectory is published. What cannot be deleted now goes when the buffer is opened."""
        if mirror.address_of(self.folder) is not None:
            with suppress(ResourceError):
                for path in mirror.listed(self.folder, PARTS):
                    mirror.remove(path)
        shutil.rmtree(self.folder, ignore_errors=True)
