"""Images made by others: tensors out of .pt, .npz, .npy and .safetensors files, without running anything in them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ast_ray.errors import StoreError, nearest

SUFFIXES = (".pt", ".pth", ".npz", ".npy", ".safetensors")
_DAMAGED = (OSError, ValueError, RuntimeError, EOFError, LookupError, TypeError, SafetensorError, zipfile.BadZipFile)
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
        raise StoreError(f"{path}: cannot read {suffix or 'a file without suffix'}{nearest(suffix, SUFFIXES)}")
    try:
        if suffix in (".pt", ".pth"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about pickle's dialect; what it cannot read is refused
                found = torch.load(path, map_location="cpu", weights_only=True)
        elif suffix == ".safetensors":
            found = load_file(path)
        else:
            loaded = np.load(path, allow_pickle=False)
            found = torch.from_numpy(loaded) if isinstance(loaded, np.ndarray) else _arrays(loaded)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except pickle.UnpicklingError as error:
        raise StoreError(f"{path}: holds more than tensors and plain values, refused ({_first(error)})") from error
    except _DAMAGED as error:
        raise StoreError(f"{path}: damaged, or not what its name says ({_first(error)})") from error
    return found if isinstance(found, dict) else {"": found}


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _arrays(archive: Any) -> dict[str, Tensor]:
    with archive:
        loaded = {name: archive[name] for name in archive.files}
    return {name: torch.from_numpy(array) for name, array in loaded.items() if array.dtype.kind in "biuf"}


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


def read_labels(path: Path) -> Tensor:
    """The labels of a file, int64 [S]; rows of one-hot numbers are turned into class numbers.

    Raises:
        StoreError: none to be found, or soft labels, which a synthetic set does not hold.
    """
    labels = _pick(path, read_arrays(path), _LABEL_NAMES, "labels")
    if labels.ndim == 2:
        labels = labels.float()
        hard = labels.argmax(1)
        if not torch.equal(torch.nn.functional.one_hot(hard, labels.shape[1]).to(labels), labels):
            raise StoreError(f"{path}: soft labels [S, K]; a synthetic set holds one class per image")
        return hard
    if labels.ndim != 1:
        raise StoreError(f"{path}: labels are {tuple(labels.shape)}, expected [S]")
    if labels.dtype == torch.bool:
        raise StoreError(f"{path}: labels are {labels.dtype}, expected class numbers")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise StoreError(f"{path}: labels are not whole numbers")
    return labels.to(torch.int64)


def _pick(path: Path, found: dict[str, Any], names: tuple[str, ...], what: str) -> Tensor:
    for name in ("", *names):
        value = found.get(name)
        if isinstance(value, Tensor):
            if value.is_complex() or value.is_quantized or value.layout is not torch.strided:
                kind = f"{value.dtype} ({value.layout})"
                raise StoreError(f"{path}: {what} are {kind}, expected plain whole numbers or floats")
            return value.detach()
    held = ", ".join(f"{name} {tuple(value.shape)}" for name, value in found.items() if isinstance(value, Tensor))
    raise StoreError(f"{path}: no {what} in it (looked for {', '.join(names)}; it holds {held or 'no tensor'})")
