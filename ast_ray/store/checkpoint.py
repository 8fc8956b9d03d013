"""Distillation checkpoints: the whole state as one safetensors file with its checksum, atomically replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ast_ray.errors import StoreError
from ast_ray.store import mirror
from ast_ray.store.atomic import atomic_path
from ast_ray.store.checksum import intact, sealed


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Named tensors and plain values under a fingerprint."""

    fingerprint: str
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


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
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{mirror.shown(path)}: damaged checkpoint ({error}); delete it to start over") from error
    if not intact(tensors, header):
        raise StoreError(f"{mirror.shown(path)}: damaged checkpoint (its checksum is wrong); delete it to start over")
    if header.get("fingerprint") != fingerprint:
        raise StoreError(
            f"{mirror.shown(path)}: checkpoint of run {header.get('fingerprint', 'unknown')}, this run is {fingerprint}"
        )
    return Checkpoint(fingerprint, tensors, json.loads(header["values"]))
