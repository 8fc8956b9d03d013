"""Distillation checkpoints: the whole state as one safetensors file with its checksum, atomically replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ast_ray.errors import StoreError
from ast_ray.storage import mirror
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.checksum import intact, sealed
from ast_ray.storage.containers.documents import parsed
from ast_ray.storage.containers.opening import parsing
from ast_ray.storage.containers.tensors import Shape, read_tensors, require_tensors
from ast_ray.storage.typed import checked

_TOLD, _HINT = "damaged checkpoint", "delete it to start over"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Named tensors and plain values under a fingerprint."""

    fingerprint: str
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    path: Path | None = None

    def require(self, tensors: Mapping[str, tuple[torch.dtype, Shape]], values: type) -> None:
        """Check tensors by type and shape, and the values against a `TypedDict`.

        Raises:
            StoreError: something is missing or of another kind, by name.
        """
        path = self.path or Path("checkpoint")
        require_tensors(path, self.tensors, tensors, hint=_HINT)
        with parsing(path, StoreError, hint=_HINT, told=_TOLD):
            checked(dict(self.values), values)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Publish a checkpoint atomically."""
    header = {"fingerprint": checkpoint.fingerprint, "values": json.dumps(dict(checkpoint.values))}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, sealed(tensors, header))


def read_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """Return the checkpoint, or None when there is none.

    Raises:
        StoreError: damaged, or of another fingerprint.
    """
    if not mirror.fetch(path):
        return None
    tensors, header = read_tensors(path, hint=_HINT, told=_TOLD)
    if not intact(tensors, header):
        raise StoreError(f"{mirror.shown(path)}: {_TOLD} (its checksum is wrong); {_HINT}")
    if header.get("fingerprint") != fingerprint:
        raise StoreError(
            f"{mirror.shown(path)}: checkpoint of run {header.get('fingerprint', 'unknown')}, this run is {fingerprint}"
        )
    with parsing(path, StoreError, hint=_HINT, told=_TOLD):
        values = checked(parsed(header["values"], strict=False), dict[str, Any], "values")
    return Checkpoint(fingerprint, tensors, values, path)
