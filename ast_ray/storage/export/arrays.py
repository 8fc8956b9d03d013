"""The set as arrays: ``synthetic.npz`` for NumPy, ``synthetic.pt`` (tensors and plain values) for PyTorch scripts."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import StoreError
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.containers.documents import parsed
from ast_ray.storage.containers.numpy_files import read_npz as read_arrays_of
from ast_ray.storage.containers.opening import parsing
from ast_ray.storage.export.foreign import read_arrays
from ast_ray.storage.synthetic import pack, unpack


def write_npz(synthetic: SyntheticSet, folder: Path) -> None:
    """Write images (model space), labels, targets, pixels, class names, learning rate, whitening, and JSON of the rest.

    The JSON is the set's description, under ``description``.
    """
    tensors, description = pack(synthetic)
    arrays: dict[str, np.ndarray] = {name: tensor.numpy() for name, tensor in tensors.items()}
    arrays["pixels"] = synthetic.pixels().numpy()
    arrays["class_names"] = np.array(synthetic.class_names)
    arrays["student_lr"] = np.array(synthetic.student_lr)
    arrays["description"] = np.array(json.dumps(description))
    with atomic_path(folder / "synthetic.npz") as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            # A fixed date: the same set gives the same bytes, which numpy.savez does not.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)


def read_npz(path: Path) -> SyntheticSet:
    """Read ``synthetic.npz`` back.

    Raises:
        StoreError: damaged, or not written by `write_npz`.
    """
    arrays = read_arrays_of(path)
    if "description" not in arrays:
        raise StoreError(f"{path}: arrays without a description; bring them in with `ast-ray import`")
    plain = ("pixels", "class_names", "student_lr", "description")
    with parsing(path, StoreError):
        description = parsed(str(arrays["description"]))
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in plain}
    return unpack(path, tensors, description)


def write_pt(synthetic: SyntheticSet, folder: Path) -> None:
    """Write ``synthetic.pt`` with everything, ``images_best.pt`` and ``labels_best.pt`` as many scripts expect them.

    Of a set with soft labels ``labels_best.pt`` has the hard ones, and ``targets_best.pt`` the soft ones.
    """
    tensors, description = pack(synthetic)
    state: dict[str, Any] = {**tensors, "pixels": synthetic.pixels(), "student_lr": synthetic.student_lr}
    state |= {"class_names": list(synthetic.class_names), "description": description}
    alone = {f"{name}_best": tensors[name] for name in ("images", "labels", "targets") if name in tensors}
    for name, value in {"synthetic": state, **alone}.items():
        buffer = io.BytesIO()  # saved to a path, the archive would carry the temporary file's name
        torch.save(value, buffer)
        with atomic_path(folder / f"{name}.pt") as temporary:
            temporary.write_bytes(buffer.getvalue())


def read_pt(path: Path) -> SyntheticSet:
    """Read ``synthetic.pt`` back; tensors and plain values only, nothing is unpickled.

    Raises:
        StoreError: damaged, holds other objects, or was not written by `write_pt`.
    """
    state = read_arrays(path)
    description = state.get("description")
    if not isinstance(description, dict):
        raise StoreError(f"{path}: tensors without a description; bring them in with `ast-ray import`")
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor) and name != "pixels"}
    return unpack(path, tensors, description)
