"""A SyntheticSet as one self-describing safetensors file, with the same description as JSON beside it for people.

The description carries the checksum of tensors and description, whatever container they lie in. A set with soft labels
is of format 2: it has a tensor ``targets`` and a ``target_loss``, which an earlier version would not have looked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import torch
from safetensors.torch import save_file
from torch import Tensor

from ast_ray.config.checks import DSA_OPERATIONS
from ast_ray.core.synthetic_set import SyntheticSet, TargetLoss, unfit_targets
from ast_ray.core.zca import Whitening
from ast_ray.errors import StoreError, counted
from ast_ray.storage import mirror
from ast_ray.storage.atomic import atomic_path, write_json
from ast_ray.storage.checksum import intact, sealed
from ast_ray.storage.containers.documents import parsed
from ast_ray.storage.containers.opening import parsing
from ast_ray.storage.containers.tensors import Shape, read_tensors, require_tensors
from ast_ray.storage.records.manifest import Side
from ast_ray.storage.records.results import ResultRow
from ast_ray.storage.typed import Bounds, Number, checked

FORMAT = "ast-ray synthetic set 1"
SOFT_FORMAT = "ast-ray synthetic set 2"


class _Settings(TypedDict, total=False):
    """Sections of the settings a set was distilled with that are looked into."""

    data: dict[str, Any]
    evaluate: dict[str, Any]


class Provenance(TypedDict, total=False):
    """The origin of a set; what else is known stands beside it."""

    config: _Settings
    method: str
    reported: list[ResultRow]


class Description(TypedDict):
    """A set without its tensors."""

    format: str
    student_lr: Annotated[float, Bounds(0, 3e38)]
    class_names: list[str]
    augmentation: str
    siamese: bool
    preprocess: Literal["standard", "zca"]
    mean: list[Number]
    std: list[Number]
    provenance: Provenance
    image_shape: NotRequired[list[Side]]
    target_loss: NotRequired[TargetLoss]


_WHITENING = ("whitening_mean", "whitening_vectors", "whitening_scale")


def save_synthetic(path: Path, synthetic: SyntheticSet) -> None:
    """Write ``path`` (safetensors) and ``path`` with suffix .json, each atomically."""
    tensors, description = pack(synthetic)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"description": json.dumps(description)})
    write_json(path.with_suffix(".json"), description)


def pack(synthetic: SyntheticSet) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (images, labels, targets, whitening) and a plain description: all of a set, for any container.

    Raises:
        StoreError: labels that name no class, or targets that are not finite in float32.
    """
    _check_labels("the set", synthetic.labels, len(synthetic.images), len(synthetic.class_names))
    tensors = {"images": synthetic.images.detach().float(), "labels": synthetic.labels.to(torch.int64)}
    if synthetic.targets is not None:
        tensors["targets"] = synthetic.targets.detach().float()
        _check_targets("the set", tensors["targets"], synthetic.target_loss, tensors, len(synthetic.class_names))
    if synthetic.whitening is not None:
        whitening = synthetic.whitening
        parts = (whitening.mean, whitening.vectors, whitening.scale)
        tensors.update({name: part.float() for name, part in zip(_WHITENING, parts, strict=True)})
    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return plain, sealed(plain, _describe(synthetic))


def _describe(synthetic: SyntheticSet) -> dict[str, Any]:
    soft = synthetic.targets is not None
    return {
        "format": SOFT_FORMAT if soft else FORMAT,
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
        **({"target_loss": synthetic.target_loss} if soft else {}),
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
    tensors, header = read_tensors(file_path, missing="no synthetic set here")
    try:
        description = parsed(header.get("description", "{}"))
    except ValueError:
        description = None
    return unpack(file_path, tensors, description)


def _check_labels(where: str | Path, labels: Tensor, images: int, classes: int) -> None:
    """Refuse labels that are not one class of 0..classes-1 per image: -1 would be the last class's images."""
    if labels.shape != (images,):
        raise StoreError(f"{where}: labels are {tuple(labels.shape)} for {counted(images, 'image')}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise StoreError(
            f"{where}: {counted(len(wrong), 'label')} out of range 0..{classes - 1}; first: {int(wrong[0])}"
        )


def _check_targets(
    where: str | Path, targets: Tensor, loss: TargetLoss, tensors: Mapping[str, Tensor], classes: int
) -> None:
    """Refuse targets that are not the soft labels of the packed images."""
    problem = unfit_targets(targets, loss, len(tensors["images"]), classes)
    if problem:
        raise StoreError(f"{where}: {problem}")


def unpack(path: str | Path, tensors: Mapping[str, Tensor], description: object, *, exact: bool = True) -> SyntheticSet:
    """Put a packed set together again; ``path`` is named in errors.

    Without ``exact`` the tensors need not be those that were packed, as where pixels are read from 8-bit pictures.

    Raises:
        StoreError: not a synthetic set, one without its tensors, a wrong checksum, labels that name no class, or
            targets that cannot be its soft labels.
    """
    if not isinstance(description, dict) or description.get("format") not in (FORMAT, SOFT_FORMAT):
        raise StoreError(f"{path}: not a synthetic set of ast-ray")
    place = Path(path)
    with parsing(place, StoreError):
        told = checked(description, Description)
    _check_tensors(place, tensors, told)
    whitened = told["preprocess"] == "zca"
    soft = ("targets",) if "target_loss" in told else ()
    parts = {name: tensors[name] for name in ("images", "labels", *soft, *(_WHITENING if whitened else ()))}
    if exact and not intact(parts, description):
        raise StoreError(f"{path}: damaged (its checksum is wrong)")
    labels, names = tensors["labels"].to(torch.int64), tuple(told["class_names"])
    _check_labels(path, labels, len(tensors["images"]), len(names))
    loss = told.get("target_loss", "ce")
    if soft:
        _check_targets(path, tensors["targets"], loss, tensors, len(names))
    whitening = Whitening(*(tensors[name] for name in _WHITENING)) if whitened else None
    return SyntheticSet(
        images=tensors["images"],
        labels=labels,
        student_lr=told["student_lr"],
        class_names=names,
        augmentation=told["augmentation"],
        siamese=told["siamese"],
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
        whitening=whitening,
        provenance=dict(told["provenance"]),
        targets=tensors["targets"] if soft else None,
        target_loss=loss,
    )


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], told: Description) -> None:
    """Check that images, labels, targets and whitening are there and fit each other and the description.

    Raises:
        StoreError: what does not, by name.
    """
    images = tensors.get("images")
    sides = images.shape if images is not None and images.ndim == 4 else (None,) * 4
    wanted: dict[str, tuple[torch.dtype, Shape]] = {
        "images": (torch.float32, tuple(sides)),
        "labels": (torch.int64, tuple(sides[:1])),
    }
    if "target_loss" in told:
        wanted["targets"] = (torch.float32, (sides[0], len(told["class_names"])))
    require_tensors(path, tensors, wanted)
    assert images is not None
    if told["preprocess"] == "zca":
        size = images[0].numel() if len(images) else 0
        shapes: tuple[Shape, ...] = ((size,), (size, size), (size,))
        require_tensors(
            path, tensors, {name: (torch.float32, shape) for name, shape in zip(_WHITENING, shapes, strict=True)}
        )
    problem = _misfit(images, told)
    if problem:
        raise StoreError(f"{path}: damaged ({problem})")


def _misfit(images: Tensor, told: Description) -> str:
    """Say what of a description contradicts the tensors; empty when nothing does."""
    channels = images.shape[1]
    if (told["format"] == SOFT_FORMAT) != ("target_loss" in told):
        return f"format {told['format']!r} {'with' if 'target_loss' in told else 'without'} soft labels"
    if not images.numel():
        return f"images are {list(images.shape)}"
    if told["preprocess"] == "standard" and not len(told["mean"]) == len(told["std"]) == channels:
        return f"{len(told['mean'])} means and {len(told['std'])} deviations for {channels} channels"
    unknown = [name for name in told["augmentation"].split("_") if name not in (*DSA_OPERATIONS, "none")]
    return f"unknown operation {unknown[0]!r} in its augmentation" if unknown else ""
