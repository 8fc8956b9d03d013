"""A SyntheticSet as one self-describing safetensors file, with the same description as JSON beside it for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.core.whitening import Whitening
from ast_ray.errors import StoreError
from ast_ray.store.atomic import atomic_path, write_json

FORMAT = "ast-ray synthetic set 1"


def save_synthetic(path: Path, synthetic: SyntheticSet) -> None:
    """Write ``path`` (safetensors) and ``path`` with suffix .json, each atomically."""
    description = _describe(synthetic)
    tensors = {"images": synthetic.images.detach().float(), "labels": synthetic.labels}
    if synthetic.whitening is not None:
        whitening = synthetic.whitening
        parts = {"mean": whitening.mean, "vectors": whitening.vectors, "scale": whitening.scale}
        tensors.update({f"whitening_{name}": part.float() for name, part in parts.items()})
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"description": json.dumps(description)})
    write_json(path.with_suffix(".json"), description)


def _describe(synthetic: SyntheticSet) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "student_lr": synthetic.student_lr,
        "class_names": list(synthetic.class_names),
        "ipc": synthetic.ipc,
        "image_shape": list(synthetic.images.shape[1:]),
        "augmentation": synthetic.augmentation,
        "siamese": synthetic.siamese,
        "preprocess": "zca" if synthetic.whitening is not None else "standard",
        "mean": list(synthetic.mean),
        "std": list(synthetic.std),
        "provenance": synthetic.provenance,
    }


def load_synthetic(path: str | Path) -> SyntheticSet:
    """Read a set back; ``path`` is the safetensors file or a folder that holds ``synthetic.safetensors``.

    Raises:
        StoreError: missing, damaged, or not a synthetic set.
    """
    file_path = Path(path)
    if file_path.is_dir():
        file_path = file_path / "synthetic.safetensors"
    try:
        with safe_open(file_path, framework="pt") as file:
            header = (file.metadata() or {}).get("description", "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise StoreError(f"{path}: no synthetic set here") from None
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path}: damaged ({error})") from error
    try:
        description = json.loads(header)
    except ValueError:
        description = None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise StoreError(f"{path}: not a synthetic set of ast-ray")
    whitening = None
    if "whitening_mean" in tensors:
        whitening = Whitening(*(tensors[f"whitening_{name}"] for name in ("mean", "vectors", "scale")))
    return SyntheticSet(
        images=tensors["images"],
        labels=tensors["labels"].to(torch.int64),
        student_lr=description["student_lr"],
        class_names=tuple(description["class_names"]),
        augmentation=description["augmentation"],
        siamese=description["siamese"],
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
        whitening=whitening,
        provenance=description["provenance"],
    )
