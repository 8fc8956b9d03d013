"""A buffer: the folder of all experts of one fingerprint, ``expert-00000.parquet`` and so on, with ``buffer.json``."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ast_ray.config.identity import differences, fingerprint
from ast_ray.errors import ResourceError, StoreError
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.folder import Folder
from ast_ray.storage.partial_trajectory import PartialTrajectory
from ast_ray.storage.records.marker import read_marker
from ast_ray.storage.trajectory import read_metadata, read_metrics, read_segment


@lru_cache(maxsize=2**16)
def _owner(path: Path, _modified: int, _size: int) -> tuple[str | None, int | None]:
    """Return the file's owner; read once per process, since a search asks for every expert twice a second."""
    metadata = read_metadata(path)
    return metadata.get("fingerprint"), metadata.get("expert_id")


@dataclass(frozen=True)
class ExpertSummary:
    """An expert's row of the table."""

    expert_id: int
    epochs: int
    avg_var: float
    accuracy: float


@dataclass(frozen=True)
class Buffer:
    """Experts 0..count-1 of one identity, in one folder."""

    folder: Path
    identity: Mapping[str, Any]
    count: int

    @property
    def directory(self) -> Folder:
        """The handle of the folder."""
        return Folder(self.folder)

    @property
    def fingerprint(self) -> str:
        """Hash of the identity."""
        return fingerprint(self.identity)

    def path(self, expert_id: int) -> Path:
        """The file of one expert."""
        return self.folder / f"expert-{expert_id:05d}.parquet"

    @property
    def marker(self) -> Path:
        """The file that says whose experts these are."""
        return self.folder / "buffer.json"

    def progress(self, expert_id: int) -> PartialTrajectory:
        """Return what is kept of an expert that is not finished."""
        folder = self.folder / f".expert-{expert_id:05d}"
        return PartialTrajectory(folder, f"{self.fingerprint}/{expert_id}")

    def require(self) -> None:
        """Check that the folder the driver prepared is visible here and still there.

        Raises:
            ResourceError: it is not; writing would make another folder of the same name, which nobody looks into.
        """
        if not self.directory.fetch(self.marker, once=True):
            raise ResourceError(
                f"{self.directory}: the experts' folder is gone, or is not visible on {platform.node()}; "
                "compute.store (or the run directory) must be a place that every machine sees"
            )

    def prepare(self) -> None:
        """Create the folder, or check that it is this identity's.

        Raises:
            StoreError: the folder belongs to another identity; names every difference.
        """
        if not self.directory.fetch(self.marker):
            write_document(self.marker, {"fingerprint": self.fingerprint, "identity": self.identity})
        self.check()
        kept = {part.parent for part in self.directory.list(".expert-*/*")} | set(self.folder.glob(".expert-*"))
        for expert_id in self.finished() if kept else ():
            if self.progress(expert_id).folder in kept:  # its writer was killed right after publishing
                self.progress(expert_id).remove()

    def check(self) -> None:
        """Refuse a folder of another identity without writing anything; a folder that is not there yet is fine.

        Raises:
            StoreError: names every difference.
        """
        marker = self.marker
        if not self.directory.fetch(marker):
            return
        found = read_marker(marker)
        other = found["identity"] if found else {}
        if fingerprint(other) != self.fingerprint:
            changed = "\n  ".join(differences(self.identity, other))
            told = "the experts in this folder were trained with other settings"
            raise StoreError(f"{self.directory}: {told}:\n  {changed}")

    def missing(self) -> list[int]:
        """Experts without a finished file; a file of another fingerprint or a damaged one is an error, not missing."""
        finished = self.finished()
        for expert_id in finished:
            if self.path(expert_id).exists():  # one that is only at its address is checked when it is fetched
                self._check(expert_id)
        return sorted(set(range(self.count)) - set(finished))

    def finished(self) -> list[int]:
        """Experts whose file is there."""
        names = {path.name for path in self.directory.list("expert-*.parquet")}
        return [expert_id for expert_id in range(self.count) if self.path(expert_id).name in names]

    def has(self, expert_id: int) -> bool:
        """Return whether one expert's file is there; fetches it."""
        return self.directory.fetch(self.path(expert_id))

    def _check(self, expert_id: int) -> None:
        stat = self.path(expert_id).stat()
        theirs, number = _owner(self.path(expert_id), stat.st_mtime_ns, stat.st_size)
        if theirs != self.fingerprint or number != expert_id:
            raise StoreError(
                f"{self.path(expert_id)}: belongs to expert {number} of buffer {theirs}, "
                f"not to expert {expert_id} of {self.fingerprint}"
            )

    def summaries(self) -> list[ExpertSummary]:
        """Epochs, Avg_Var and last validation accuracy of every finished expert."""
        rows = []
        for expert_id in self.finished():
            metrics = read_metrics(self.path(expert_id))
            moves = metrics["move"][1:]
            accuracy = metrics["validation_accuracy"][-1]
            rows.append(ExpertSummary(expert_id, len(moves), sum(moves) / len(moves), accuracy))
        return rows

    def __len__(self) -> int:
        """Number of experts."""
        return self.count

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        """theta_t, ..., theta_{t+length}, each [P] float32 on the CPU."""
        self._fetch(expert_id)
        epochs = range(start_epoch, start_epoch + length + 1)
        return [torch.from_numpy(theta) for theta in read_segment(self.path(expert_id), epochs)]

    def _fetch(self, expert_id: int) -> None:
        """Bring an expert here from its address, once per node, and check whose it is."""
        path = self.path(expert_id)
        if self.directory.is_local:
            return
        new = not path.exists()
        if self.directory.fetch(path, once=True) and new:
            self._check(expert_id)
