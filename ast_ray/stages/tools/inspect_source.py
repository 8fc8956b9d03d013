"""Look at a source: what it holds, what would be derived from it, and which preset fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ast_ray.config.cost import Cost, cost
from ast_ray.config.datasets import DATASETS, DatasetFacts
from ast_ray.config.presets.automatic import automatic
from ast_ray.config.presets.reason import reason
from ast_ray.config.settings import Config, DataConfig
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data.cache import cache_path
from ast_ray.data.ingest import open_listing, target_of
from ast_ray.data.parallel import Mapper, Progress, no_progress, threads
from ast_ray.data.preprocess import channel_statistics
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import DecodedDataset, Source, open_source
from ast_ray.storage.atomic import atomic_path
from ast_ray.telemetry.snapshots import grid

_SAMPLES, _CLASSES_SHOWN = 10, 100
MARK = b"tEXtSoftware\0ast-ray"
"""What the pictures of `save_samples` carry."""


def known_dataset(data: DataConfig) -> DatasetFacts | None:
    """Return the facts about a dataset by its name, without opening it; None for a path."""
    return DATASETS.get(data.subset or data.source)


def source_facts(data: DataConfig) -> DatasetFacts:
    """Classes, size and counts of a source, from its listing and the images' headers; nothing is decoded.

    Raises:
        DataError, ConfigError: the source cannot be read or does not exist.
    """
    source = open_source(data)
    listing = open_listing(source, data)
    target, _ = target_of(source, listing, data)
    train, test = (sum(len(chunk.labels) for chunk in split) for split in (listing.train, listing.test))
    known = DATASETS.get(source.statistics)
    if known is not None and known.classes == len(listing.class_names):
        return known
    side = min(target.height, target.width)
    return DatasetFacts(Path(source.name).stem, len(listing.class_names), target.channels, side, train, test)


def choose_config(data: DataConfig, ipc: int, *, named: str = "") -> Config:
    """The preset for a source: a published cell for a known dataset, else by what the images are.

    ``named`` says which known dataset the source holds, when the source itself is a path.

    Raises:
        DataError, ConfigError: the source cannot be read or does not exist.
    """
    return explained_config(data, ipc, named=named)[0]


def explained_config(data: DataConfig, ipc: int, *, named: str = "") -> tuple[Config, str]:
    """Return what `choose_config` does, with the reason in words."""
    facts = DATASETS.get(named) or known_dataset(data) or source_facts(data)
    if data.train_size:
        facts = replace(facts, train=min(facts.train, data.train_size))
    config = automatic(facts, ipc)
    return config, reason(facts, config)


@dataclass(frozen=True, eq=False)
class Inspection:
    """The findings of `ast-ray data inspect`; ``means`` and ``deviations`` per channel on the scale [0, 1]."""

    source: str
    content_id: str
    cache: str
    cache_bytes: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    config: Config
    cost: Cost
    picture: str


def inspect_source(
    data: DataConfig, ipc: int, picture: Path, *, mapper: Mapper = threads, progress: Progress = no_progress
) -> Inspection:
    """Decode a source (once), describe it, and draw samples of every class as a PNG.

    Raises:
        DataError, ConfigError: the source cannot be read or does not exist.
    """
    source, dataset, identity = load_dataset(data, mapper=mapper, progress=progress)
    save_samples(picture, dataset)
    means, deviations = channel_statistics(dataset.train_images)
    facts = known_dataset(data) or _facts(source, dataset)
    config = automatic(facts, ipc)
    cache = cache_path(source, data)
    channels, height, width = dataset.train_images.shape[1:]
    return Inspection(
        source=source.name,
        content_id=identity,
        cache=str(cache),
        cache_bytes=cache.stat().st_size if cache.exists() else 0,
        image_shape=(channels, height, width),
        class_names=dataset.class_names,
        train_counts=_counts(dataset.train_labels, len(dataset.class_names)),
        test_counts=_counts(dataset.test_labels, len(dataset.class_names)),
        means=means,
        deviations=deviations,
        notes=dataset.notes,
        warnings=dataset.warnings,
        config=config,
        cost=cost(config, facts),
        picture=str(picture),
    )


def _facts(source: Source, dataset: DecodedDataset) -> DatasetFacts:
    channels, height, width = dataset.train_images.shape[1:]
    known, classes = DATASETS.get(source.statistics), len(dataset.class_names)
    if known is not None and known.classes == classes:
        return known
    train, test = len(dataset.train_labels), len(dataset.test_labels)
    return DatasetFacts(Path(source.name).stem, classes, channels, min(height, width), train, test)


def _counts(labels: torch.Tensor, classes: int) -> tuple[int, ...]:
    return tuple(torch.bincount(labels, minlength=classes).tolist())


def save_samples(path: Path, dataset: DecodedDataset) -> None:
    """Write a PNG, atomically: a row of up to ten training images for each of the first hundred classes."""
    names = dataset.class_names[:_CLASSES_SHOWN]
    counts = _counts(dataset.train_labels, len(dataset.class_names))[: len(names)]
    shown = min(_SAMPLES, *counts)
    rows = [torch.nonzero(dataset.train_labels == label).flatten()[:shown] for label in range(len(names))]
    chosen = torch.cat(rows)
    channels = dataset.train_images.shape[1]
    samples = SyntheticSet(
        images=dataset.train_images[chosen].float() / 255,
        labels=dataset.train_labels[chosen],
        student_lr=1.0,
        class_names=names,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    pixels: np.ndarray = grid(samples, columns=max(shown, 1))
    about = PngInfo()
    about.add_text("Software", "ast-ray")
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=about)
