"""Parts that all containers share: the description file, the whitening, names of files, 8-bit pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import StoreError
from ast_ray.storage import mirror
from ast_ray.storage.atomic import atomic_path, write_json
from ast_ray.storage.containers.documents import parsed
from ast_ray.storage.containers.opening import parsing, require_file
from ast_ray.storage.containers.tensors import read_tensors as tensors_of
from ast_ray.storage.typed import checked

DESCRIPTION = "dataset.json"
PREPROCESSING = "preprocessing.safetensors"
MODEL_SPACE = "model-space.safetensors"
TARGETS = "targets.safetensors"
FORMAT = "ast-ray export 1"
_CHECKSUM = "list_checksum"
OF_THE_FOLDER = ("export", "container", "files", _CHECKSUM)  # what a description file says beside the set's own


class _Description(TypedDict):
    """The part of ``dataset.json`` beside the set's own description, which `unpack` checks."""

    container: str


def write_description(folder: Path, container: str, description: Mapping[str, Any]) -> None:
    """Write ``dataset.json``: the container's name and the set's description."""
    write_json(folder / DESCRIPTION, {"export": FORMAT, "container": container, **description})


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return what ``dataset.json`` says, or None where there is no export.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / DESCRIPTION
    if not mirror.fetch(path):
        return None
    require_file(path, StoreError)
    with parsing(path, StoreError):
        found = parsed(path.read_bytes())
        if not isinstance(found, dict) or found.get("export") != FORMAT:
            return None
        checked(found, _Description)
        return found


def description_checksum(description: Mapping[str, Any]) -> str:
    """SHA-256 of a container's name and of what its description says, the checksum itself left out."""
    content = {name: value for name, value in description.items() if name not in ("export", "container", _CHECKSUM)}
    text = json.dumps([description.get("container"), content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def require_intact(folder: Path, description: Mapping[str, Any]) -> None:
    """Check a description against its checksum; one of an earlier version has none.

    Raises:
        StoreError: damaged, or edited since.
    """
    if _CHECKSUM in description and description[_CHECKSUM] != description_checksum(description):
        told = "damaged or edited (its checksum is wrong); export the set again"
        raise StoreError(f"{mirror.shown(folder / DESCRIPTION)}: {told}")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Publish tensors as safetensors; nothing for none."""
    if tensors:
        with atomic_path(path) as temporary:
            save_file(dict(tensors), temporary)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, none where there is no file.

    Raises:
        StoreError: damaged.
    """
    if not mirror.fetch(path):
        return {}
    return tensors_of(path)[0]


def preprocessing_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a packed set that are not images, labels or targets."""
    return {name: tensor for name, tensor in tensors.items() if name not in ("images", "labels", "targets")}


def target_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The soft labels of a packed set, nothing where it has none."""
    return {name: tensor for name, tensor in tensors.items() if name == "targets"}


def eight_bit(synthetic: SyntheticSet) -> np.ndarray:
    """Displayable pixels as uint8 [S, H, W] (grey) or [S, H, W, 3].

    Raises:
        StoreError: images of neither 1 nor 3 channels.
    """
    channels = synthetic.images.shape[1]
    if channels not in (1, 3):
        raise StoreError(f"PNG holds 1 or 3 channels, these images have {channels}; export to npz, pt or safetensors")
    pixels = (synthetic.pixels() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if channels == 1 else pixels
