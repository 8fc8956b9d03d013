"""Evaluate one network on one set: a synthetic set, or real images as a baseline. One row per network."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ast_ray.config.loading import to_dict
from ast_ray.config.settings import Config
from ast_ray.core.evaluation import Recipe
from ast_ray.core.images import Images
from ast_ray.core.initialization import initial_rows
from ast_ray.core.networks import build
from ast_ray.core.rng import stream, stream_seed
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data.real import RealData
from ast_ray.errors import DataError, DivergenceError
from ast_ray.stages.context import real_data, resolve_device, torch_threads
from ast_ray.stages.distill import start_images
from ast_ray.stages.validation import train_and_score
from ast_ray.store.atomic import write_json
from ast_ray.store.buffer import Buffer
from ast_ray.store.synthetic import load_synthetic
from ast_ray.telemetry.progress import ProgressSink

PROTOCOL = "strict"


@dataclass(frozen=True)
class EvaluationJob:
    """One network on one set.

    ``set_name`` is the row's name; ``source`` is ``random``, ``representative``, ``full`` or a path of a synthetic set.
    ``token`` names everything else that decides the result; a row with another token is stale and run again.
    """

    set_name: str
    source: str
    config: Config
    index: int
    row: str
    token: str
    buffer_folder: str = ""
    expert_identity: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """Set and network."""
        return f"evaluate {self.set_name} {self.index}"


def row_settings(config: Config) -> dict[str, Any]:
    """What of the protocol decides one network's row: everything but how many networks there are."""
    values: dict[str, Any] = to_dict(config)["evaluate"]
    return {name: value for name, value in values.items() if name not in ("networks", "full_networks")}


def finished_row(job: EvaluationJob) -> dict[str, Any] | None:
    """Return the row when it was already evaluated under the same token; a damaged one counts as absent."""
    try:
        row = json.loads(Path(job.row).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return row if isinstance(row, dict) and row.get("token") == job.token else None


def evaluate_network(job: EvaluationJob, _sink: ProgressSink) -> dict[str, Any]:
    """Train one fresh network on the set, score it on the whole test set (strict protocol: last pass, no choice).

    Raises:
        DivergenceError: training diverged; names set and network.
    """
    done = finished_row(job)
    if done is not None:
        return done
    began = time.perf_counter()
    config = job.config
    with torch_threads(config.compute.threads):
        data = real_data(config.data, resolve_device(config.compute))
        images, labels, recipe = _training_set(job, data)
        try:
            result = train_and_score(
                config, data, images, labels, recipe, role=f"evaluate {job.set_name}", index=job.index, test=True
            )
        except DivergenceError as error:
            raise DivergenceError(f"set {job.set_name!r}, network {job.index}: {error}") from error
    row = {
        "set": job.set_name,
        "network": config.network.name,
        "protocol": PROTOCOL,
        "seed": job.index,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "images": len(images),
        "lr": recipe.lr,
        "seconds": round(time.perf_counter() - began, 3),
        "token": job.token,
    }
    write_json(Path(job.row), row)
    return row


def _training_set(job: EvaluationJob, data: RealData) -> tuple[Images, Tensor, Recipe]:
    """The images [S, C, H, W], labels [S] and recipe of a job."""
    config = job.config
    evaluate, augmentation = config.evaluate, config.distill.augmentation
    real = Recipe.of(evaluate, lr=evaluate.real_lr, augmentation=augmentation, siamese=config.distill.siamese)
    if job.source == "full":
        recipe = Recipe(
            lr=evaluate.real_lr,
            passes=evaluate.full_epochs,
            batch_size=config.expert.batch_size,
            momentum=evaluate.momentum,
            weight_decay=evaluate.weight_decay,
            lr_decay_pass=evaluate.full_epochs // 2,
            lr_decay_factor=evaluate.lr_decay_factor,
            augmentation=augmentation,
        )
        return data.train_images, data.train_labels, recipe
    if job.source == "random":
        seed = stream_seed(config.seed, "baseline", job.index)
        rows = initial_rows(
            "random-real", data.train_images, data.train_labels, data.classes, config.distill.ipc, seed=seed
        ).to(data.train_images.device)
        return data.train_images[rows], data.train_labels[rows], real
    if job.source == "representative":
        generator = stream(config.seed, "distill", "layout")
        network = build(config.network, data.image_shape, data.classes, generator).to(data.train_images.device)
        buffer = Buffer(Path(job.buffer_folder), job.expert_identity, config.expert.count)
        images, labels = start_images(config, data, buffer, network)
        return images, labels, real
    return _synthetic(job, data)


def check_set(synthetic: SyntheticSet, source: str, data: RealData) -> None:
    """Refuse a set that was not distilled from images like these.

    Raises:
        DataError: another image shape or other classes.
    """
    shape, wanted = tuple(synthetic.images.shape[1:]), tuple(data.train_images.shape[1:])
    if shape != wanted:
        raise DataError(f"{source}: images are {shape}, the data's {wanted}")
    if synthetic.class_names != data.class_names:
        raise DataError(f"{source}: distilled for the classes {synthetic.class_names}, the data has {data.class_names}")


def _synthetic(job: EvaluationJob, data: RealData) -> tuple[Tensor, Tensor, Recipe]:
    synthetic = load_synthetic(job.source)
    check_set(synthetic, job.source, data)
    recipe = Recipe.of(
        job.config.evaluate,
        lr=synthetic.student_lr,
        augmentation=synthetic.augmentation,
        siamese=synthetic.siamese,
    )
    device = data.train_images.device
    return synthetic.images.to(device), synthetic.labels.to(device), recipe
