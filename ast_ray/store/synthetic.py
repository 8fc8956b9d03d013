"""A SyntheticSet as one self-describing safetensors file, with the same description as JSON beside it for people.

The description carries the checksum of tensors and description, whatever container they lie in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.core.whitening import Whitening
from ast_ray.errors import StoreError, counted
from ast_ray.store import mirror
from ast_ray.store.atomic import atomic_path, write_json
from ast_ray.store.checksum import intact, sealed

FORMAT = "ast-ray synthetic set 1"
_WHITENING = ("whitening_mean", "whitening_vectors", "whitening_scale")


def save_synthetic(path: Path, synthetic: SyntheticSet) -> None:
    """Write ``path`` (safetensors) and ``path`` with suffix .json, each atomically."""
    tensors, description = pack(synthetic)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"description": json.dumps(description)})
    write_json(path.with_suffix(".json"), description)


def pack(synthetic: SyntheticSet) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (images, labels, whitening) and a plain description: all of a set, for any container.

    Raises:
        StoreError: labels that name no class.
    """
    _check_labels("the set", synthetic.labels, len(synthetic.images), len(synthetic.class_names))
    tensors = {"images": synthetic.images.detach().float(), "labels": synthetic.labels.to(torch.int64)}
    if synthetic.whitening is not None:
        whitening = synthetic.whitening
        parts = (whitening.mean, whitening.vectors, whitening.scale)
        tensors.update({name: part.float() for name, part in zip(_WHITENING, parts, strict=True)})
    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return plain, sealed(plain, _describe(synthetic))


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
    file_path = mirror.view(path)
    if file_path.is_dir() or (mirror.address_of(file_path) and file_path.suffix != ".safetensors"):
        file_path = file_path / "synthetic.safetensors"
    mirror.fetch(file_path)
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
    return unpack(path, tensors, description)


def _check_labels(where: str | Path, labels: Tensor, images: int, classes: int) -> None:
    """Refuse labels that are not one class of 0..classes-1 per image: -1 would be the last class's images."""
    if labels.shape != (images,):
        raise StoreError(f"{where}: labels are {tuple(labels.shape)} for {counted(images, 'image')}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise StoreError(
            f"{where}: {counted(len(wrong), 'label')} out of range 0..{classes - 1}; first: {int(wrong[0])}"
        )


def unpack(path: str | Path, tensors: Mapping[str, Tensor], description: object, *, exact: bool = True) -> SyntheticSet:
    """Put a packed set together again; ``path`` is named in errors.

    Without ``exact`` the tensors need not be those that were packed, as where pixels are read from 8-bit pictures.

    Raises:
        StoreError: not a synthetic set, one without its tensors, a wrong checksum, or labels that name no class.
    """
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise StoreError(f"{path}: not a synthetic set of ast-ray")
    whitened = description.get("preprocess") == "zca"
    needed = ("images", "labels", *(_WHITENING if whitened else ()))
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise StoreError(f"{path}: a synthetic set without {', '.join(missing)}")
    if exact and not intact({name: tensors[name] for name in needed}, description):
        raise StoreError(f"{path}: damaged (its checksum is wrong)")
    labels, names = tensors["labels"].to(torch.int64), tuple(description["class_names"])
    _check_labels(path, labels, len(tensors["images"]), len(names))
    whitening = None
    if whitened:
        whitening = Whitening(*(tensors[name] for name in _WHITENING))
    return SyntheticSet(
        images=tensors["images"],
        labels=labels,
        student_lr=description["student_lr"],
        class_names=names,
        augmentation=description["augmentation"],
        siamese=description["siamese"],
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
        whitening=whitening,
        provenance=description["provenance"],
    )
