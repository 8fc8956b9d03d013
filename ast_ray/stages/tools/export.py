"""Sets out of a run in other containers, and images made by others into a set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ast_ray.config.settings import Config
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data.real import RealData
from ast_ray.errors import DataError, counted
from ast_ray.stages.distillation.publish import synthetic_set
from ast_ray.stages.evaluation.training_sets import REAL_SETS
from ast_ray.storage.export import export_set, load_set
from ast_ray.storage.export.folder import own_files
from ast_ray.storage.export.foreign import read_images, read_labels
from ast_ray.storage.export.writing import check_formats
from ast_ray.storage.folder import Folder
from ast_ray.storage.records.results import read_results

Space = Literal["auto", "model", "pixels"]


def export_sets(paths: Mapping[str, Path], formats: Sequence[str], out: Path | None) -> list[dict[str, str]]:
    """Write every set in every format to ``out/<set>/<format>`` (without ``<set>`` for a single one).

    ``out`` defaults to ``export`` beside each set. What the run measured for a set goes with it.

    Raises:
        ConfigError: unknown format; StoreError: a set cannot be read or a folder holds something else.
    """
    check_formats(formats)
    places = {
        name: path.parent / "export" if out is None else out / name if len(paths) > 1 else out
        for name, path in paths.items()
    }
    for place in places.values():
        for container in formats:
            own_files(place / container)
    written = []
    for name, path in paths.items():
        synthetic = load_set(path)
        for container in formats:
            folder = export_set(synthetic, places[name] / container, container, reported=reported_rows(path))
            written.append({"set": name, "format": container, "path": str(Folder(folder))})
    return written


def reported_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of the run's table about a set that lies in a run directory, under its method's name; none elsewhere."""
    method = path.parent.name
    results = path.parents[2] / "results.json" if len(path.parents) > 2 else path
    if path.name != "synthetic.safetensors" or method in REAL_SETS or not Folder(results.parent).fetch(results):
        return []
    table = read_results(results)
    return [dict(row) for row in (table["rows"] if table else ()) if row["set"] == method]


def import_set(
    config: Config,
    data: RealData,
    images: Path,
    labels: Path | None,
    *,
    space: Space = "auto",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> SyntheticSet:
    """Make a set of images and labels, hard or probabilities, from files others wrote.

    Args:
        config: its data say what the real images are and how they are prepared; ``distill.student_lr`` (0 =
            ``evaluate.real_lr``) and ``distill.augmentation`` how to train.
        labels: file of labels; None = in the file of images.
        space: values are in model space, or pixels (whole numbers 0..255, or floats 0..1); auto = by their range.
        mean: with ``std``, another normalisation the values are in, per channel: pixel = value * std + mean.

    Raises:
        StoreError: a file cannot be read; DataError: shapes, labels or counts that do not fit the data.
    """
    values, (classes, targets) = read_images(images), read_labels(labels or images)
    _check(images, values, classes, data)
    if targets is not None and targets.shape[1] != data.classes:
        raise DataError(
            f"{labels or images}: soft labels of {counted(targets.shape[1], 'class')}, the data has {data.classes}"
        )
    found = space_of(values) if space == "auto" else space
    if found == "pixels" and not mean:
        values = _unit(images, values)
    about = {"method": "imported", "file": images.name, "space": "other statistics" if mean else found}
    settings = dataclasses.replace(
        config, distill=dataclasses.replace(config.distill, ipc=len(classes) // data.classes)
    )
    student_lr = config.distill.student_lr or config.evaluate.real_lr
    imported = synthetic_set(settings, data, values.float(), classes, student_lr, about, targets)
    if mean:
        shape = (1, -1, 1, 1)
        pixels = values.float() * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
        imported = dataclasses.replace(imported, images=imported.to_model_space(pixels))
    elif found == "pixels":
        imported = dataclasses.replace(imported, images=imported.to_model_space(values))
    if not torch.isfinite(imported.images).all():
        raise DataError(f"{images}: with this mean and std some values are not finite")
    return imported


def space_of(values: Tensor) -> Literal["model", "pixels"]:
    """Whole numbers, and numbers that stay within [0, 1], are pixels; others are normalised already.

    Floats count as whole numbers where all of them are, from 0 to 255.
    """
    if not values.is_floating_point():
        return "pixels"
    inside = float(values.min()) >= 0 and float(values.max()) <= 255
    return "pixels" if inside and (float(values.max()) <= 1 or _whole(values)) else "model"


def _whole(values: Tensor) -> bool:
    return torch.equal(values, values.round())


def _unit(path: Path, values: Tensor) -> Tensor:
    """Pixels as floats in [0, 1].

    Raises:
        DataError: whole numbers outside 0..255, or floats outside [0, 1] that are not whole numbers.
    """
    low, high = float(values.min()), float(values.max())
    if values.is_floating_point() and low >= 0 and high <= 1:
        return values
    if low >= 0 and high <= 255 and _whole(values):
        return values.float() / 255
    raise DataError(
        f"{path}: pixels from {low:g} to {high:g}; expected whole numbers from 0 to 255, or floats from 0 to 1 "
        "(--mean 0 --std 1, once per channel, takes values as they are)"
    )


def _check(path: Path, values: Tensor, labels: Tensor, data: RealData) -> None:
    if tuple(values.shape[1:]) != data.image_shape or values.ndim != 4:
        expected = ", ".join(str(side) for side in data.image_shape)
        channels_last = tuple(values.shape[1:]) == (*data.image_shape[1:], data.image_shape[0])
        hint = "; channels come first here: permute(0, 3, 1, 2)" if channels_last else ""
        raise DataError(f"{path}: images are {tuple(values.shape)}, the data needs [S, {expected}]{hint}")
    if len(values) != len(labels):
        raise DataError(f"{path}: {counted(len(values), 'image')}, {counted(len(labels), 'label')}")
    wrong = labels[(labels < 0) | (labels >= data.classes)]
    if len(wrong):
        raise DataError(f"{path}: label {int(wrong[0])} out of range 0..{data.classes - 1}")
    if len(labels) < data.classes:
        raise DataError(
            f"{path}: {counted(len(labels), 'image')} for {counted(data.classes, 'class')}; at least one each"
        )
    missing = [name for label, name in enumerate(data.class_names) if not (labels == label).any()]
    if missing:
        raise DataError(
            f"{path}: no image of {counted(len(missing), 'class')}: {', '.join(missing[:5])}; at least one each"
        )
    if not torch.isfinite(values.float()).all():
        raise DataError(f"{path}: images hold numbers that are not finite")
