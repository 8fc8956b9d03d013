"""Images made by others: tensors out of .pt, .npz, .npy and .safetensors files, without running anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_ray.core.synthetic_set import probabilities
from ast_ray.errors import StoreError, suggestion
from ast_ray.storage.containers.numpy_files import read_npy, read_npz
from ast_ray.storage.containers.opening import FOREIGN, parsing
from ast_ray.storage.containers.tensors import read_tensors
from ast_ray.storage.containers.torch_files import read_pt

SUFFIXES = (".pt", ".pth", ".npz", ".npy", ".safetensors")
_IMAGE_NAMES = ("images", "image", "data", "x", "images_train", "images_best")
_LABEL_NAMES = ("labels", "label", "targets", "target", "y", "labels_train", "labels_best")


def read_arrays(path: Path) -> dict[str, Any]:
    """Return what a file holds, by name; a file that is one array has it under ``""``.

    .pt and .pth are read with ``weights_only``: tensors and plain values, anything else is refused.

    Raises:
        StoreError: missing, damaged, of an unknown kind, or holding more than tensors.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise StoreError(f"{path}: cannot read {suffix or 'a file without suffix'}{suggestion(suffix, SUFFIXES)}")
    if suffix in (".pt", ".pth"):
        found = read_pt(path)
        return found if isinstance(found, dict) else {"": found}
    if suffix == ".safetensors":
        return dict(read_tensors(path)[0])
    arrays = read_npz(path) if suffix == ".npz" else {"": read_npy(path)}
    return {name: _tensor(path, array) for name, array in arrays.items() if array.dtype.kind in "biufc"}


def _tensor(path: Path, array: np.ndarray) -> Tensor:
    """An array of numbers as a tensor: in this machine's byte order, and of a type torch has."""
    with parsing(path, StoreError, told=FOREIGN):
        return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape))


def read_images(path: Path) -> Tensor:
    """The images of a file: its only tensor, or the one named like images; whole numbers, or float32 for any floats.

    Raises:
        StoreError: none to be found (says what the file holds), or neither whole numbers nor floats.
    """
    images = _pick(path, read_arrays(path), _IMAGE_NAMES, "images")
    if images.dtype == torch.bool:
        raise StoreError(f"{path}: images are {images.dtype}, expected whole numbers or floats")
    if images.is_floating_point():
        return images.float()
    return images if images.dtype == torch.uint8 else images.to(torch.int64)


def read_labels(path: Path) -> tuple[Tensor, Tensor | None]:
    """The labels of a file, int64 [S], and its soft labels, float32 [S, K]: probabilities, None for hard labels alone.

    Rows of one-hot numbers are turned into class numbers; of soft labels the class is the largest entry.

    Raises:
        StoreError: none to be found, or soft labels that are no probabilities: logits cannot be told from targets.
    """
    labels = _pick(path, read_arrays(path), _LABEL_NAMES, "labels")
    if labels.ndim == 2:
        labels = labels.float()
        hard = labels.argmax(1)
        if torch.equal(torch.nn.functional.one_hot(hard, labels.shape[1]).to(labels), labels):
            return hard, None
        if not probabilities(labels):
            raise StoreError(
                f"{path}: soft labels [S, K] that are no probabilities; expected rows of numbers from 0 on that add up "
                "to 1 (logits: their softmax)"
            )
        return hard, labels
    if labels.ndim != 1:
        raise StoreError(f"{path}: labels are {tuple(labels.shape)}, expected [S]")
    if labels.dtype == torch.bool:
        raise StoreError(f"{path}: labels are {labels.dtype}, expected class numbers")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise StoreError(f"{path}: labels are not whole numbers")
    return labels.to(torch.int64), None


def _plain(path: Path, tensor: Tensor, what: str) -> Tensor:
    """The tensor, if it holds numbers one after the other and nothing else.

    Raises:
        StoreError: sparse, quantized, nested or without values, empty, or a single number.
    """
    problem = ""
    if tensor.is_nested or tensor.layout != torch.strided:
        problem = "not a dense tensor"
    elif tensor.is_quantized:
        problem = "quantized"
    elif tensor.device.type != "cpu":
        problem = f"a tensor without values (device {tensor.device})"
    elif tensor.is_complex():
        problem = f"{str(tensor.dtype).removeprefix('torch.')}, not numbers"
    elif not tensor.ndim or not tensor.numel():
        problem = f"empty or a single number, of shape {tuple(tensor.shape)}"
    if problem:
        raise StoreError(f"{path}: {what} are {problem}; expected a plain tensor of numbers")
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    if tensor.is_floating_point():
        return tensor if tensor.element_size() > 1 else tensor.float()
    kept = tensor.dtype in (torch.uint8, torch.bool)
    return tensor if kept else tensor.to(torch.int64)  # torch computes with few unsigned types


def _pick(path: Path, found: dict[str, Any], names: tuple[str, ...], what: str) -> Tensor:
    for name in ("", *names):
        value = found.get(name)
        if isinstance(value, Tensor):
            return _plain(path, value, what)
    tensors = ((name, value) for name, value in found.items() if isinstance(value, Tensor))
    held = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors)
    raise StoreError(f"{path}: no {what} in it (looked for {', '.join(names)}; it holds {held or 'no tensor'})")
