"""PNG files, a folder per class: for looking at, and for every tool that reads image folders.

A PNG keeps 8 bits of pixels clipped to [0, 1], synthetic images reach beyond: the exact values lie beside them in
``model-space.safetensors`` and are what is read back. Without that file the PNGs are read, and the set says so. Soft
labels lie in ``targets.safetensors``, a row per picture in the order of their numbers.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import StoreError
from ast_ray.storage.containers.opening import parsing
from ast_ray.storage.containers.pictures import read_picture
from ast_ray.storage.export.common import (
    DESCRIPTION,
    MODEL_SPACE,
    OF_THE_FOLDER,
    PREPROCESSING,
    TARGETS,
    eight_bit,
    preprocessing_tensors,
    read_tensors,
    target_tensors,
    write_tensors,
)
from ast_ray.storage.records.manifest import Side
from ast_ray.storage.synthetic import pack, unpack
from ast_ray.storage.typed import checked


class _Shape(TypedDict):
    """The part of a description that says what the pictures are."""

    image_shape: list[Side]


def class_folder(label: int, name: str, classes: int) -> str:
    """Folder of a class: its number first, so that sorting by name keeps the order of labels."""
    digits = len(str(classes - 1))
    return f"{label:0{digits}d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}"


def write_png(synthetic: SyntheticSet, folder: Path) -> None:
    """Write ``images/<class>/<number>.png``, the exact values, soft labels and, under ZCA, the whitening."""
    tensors, _ = pack(synthetic)
    classes = len(synthetic.class_names)
    for number, (image, label) in enumerate(zip(eight_bit(synthetic), synthetic.labels.tolist(), strict=True)):
        place = folder / "images" / class_folder(label, synthetic.class_names[label], classes)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:05d}.png")
    write_tensors(folder / MODEL_SPACE, {name: tensors[name] for name in ("images", "labels")})
    write_tensors(folder / PREPROCESSING, preprocessing_tensors(tensors))
    write_tensors(folder / TARGETS, target_tensors(tensors))


def read_png(folder: Path, description: dict[str, Any]) -> SyntheticSet:
    """Read the exact values back, or the PNGs where those are gone.

    Raises:
        StoreError: missing or damaged files.
    """
    description = {name: value for name, value in description.items() if name not in OF_THE_FOLDER}
    beside = {**read_tensors(folder / PREPROCESSING), **read_tensors(folder / TARGETS)}
    exact = read_tensors(folder / MODEL_SPACE)
    if exact:
        return unpack(folder, {**exact, **beside}, description)
    with parsing(folder / DESCRIPTION, StoreError):
        sides = checked(description, _Shape)["image_shape"]
    pixels, labels = _decode(folder, tuple(sides))
    rough = unpack(folder, {"images": pixels, "labels": labels, **beside}, description, exact=False)
    provenance = {**rough.provenance, "pixels": "read from 8-bit PNG files: values outside [0, 1] are lost"}
    return dataclasses.replace(rough, images=rough.to_model_space(pixels), provenance=provenance)


def _decode(folder: Path, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    files = sorted(folder.glob("images/*/*.png"), key=lambda path: path.name)
    if not files:
        raise StoreError(f"{folder}: neither {MODEL_SPACE} nor PNG files in images/")
    images, labels = [], []
    for path in files:
        with parsing(path, StoreError, told="cannot be decoded"):
            array = np.asarray(read_picture(path, "L" if shape[0] == 1 else "RGB"), dtype=np.float32) / 255
            images.append(torch.from_numpy(array.copy()).view(*shape[1:], shape[0]).permute(2, 0, 1))
            labels.append(int(path.parent.name.partition("-")[0]))
    return torch.stack(images).contiguous(), torch.tensor(labels)
