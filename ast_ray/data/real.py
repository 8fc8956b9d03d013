"""The real images of a run: training, validation and test images in model space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from ast_ray.config.settings import DataConfig
from ast_ray.core.images import Images
from ast_ray.data.cache import cache_folder, cache_path, read_cached
from ast_ray.data.ingest import decoded, open_listing
from ast_ray.data.parallel import Mapper, Progress, no_progress, threads
from ast_ray.data.placement import choose_placement, place
from ast_ray.data.preprocess import LITERATURE, Preprocessing, cached_zca, channel_statistics
from ast_ray.data.sources import DecodedDataset, Source, open_source
from ast_ray.data.splits import split_rows, trained_only
from ast_ray.errors import ConfigError, Problem

LARGEST_ZCA = 3 * 64 * 64
_STD_SAMPLE = 2048


@dataclass(frozen=True, eq=False)
class RealData:
    """Real images [n, C, H, W] float32 in model space and labels int64 [n], per split, on one device.

    Images are tensors, or streamed where they do not fit (`core.images.Images`).
    """

    train_images: Images
    train_labels: Tensor
    validation_images: Images
    validation_labels: Tensor
    test_images: Images
    test_labels: Tensor
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    data_id: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def split_notes(self) -> tuple[str, ...]:
        """A line on classes that are only trained on, if there are any."""
        return trained_only(self.class_names, self.validation_labels, self.test_labels)

    @cached_property
    def image_std(self) -> float:
        """Standard deviation of the training images' values, over at most 2,048 evenly spaced images; 1 if it is 0."""
        count = len(self.train_labels)
        rows = torch.arange(min(count, _STD_SAMPLE)) * count // min(count, _STD_SAMPLE)
        deviation = float(self.train_images[rows.to(self.train_labels.device)].double().std())
        return deviation or 1.0


def images_to_decode(config: DataConfig) -> int:
    """Count the images that `load_dataset` would decode: 0 when they are in the cache.

    Raises:
        DataError, ConfigError: the source cannot be listed.
    """
    source = open_source(config)
    if read_cached(cache_path(source, config)) is not None:
        return 0
    listing = open_listing(source, config)
    return sum(len(chunk.labels) for chunk in (*listing.train, *listing.test))


def load_dataset(
    config: DataConfig, *, mapper: Mapper = threads, progress: Progress = no_progress
) -> tuple[Source, DecodedDataset, str]:
    """Open and decode the source, once: afterwards its images are mapped from the cache. Returns the content id too."""
    source = open_source(config)
    return source, *decoded(source, config, mapper=mapper, progress=progress)


def load_real_data(config: DataConfig, device: torch.device | str = "cpu") -> RealData:
    """Read, split and normalise the images of a run.

    Statistics and ZCA are fitted on the source's whole training split.

    Raises:
        DataError: the source cannot be read or does not fit; ConfigError: an unknown source or impossible sizes.
    """
    source, dataset, identity = load_dataset(config)
    train, validation = split_rows(
        dataset.train_labels,
        validation_size=config.validation_size,
        train_size=config.train_size,
        seed=config.split_seed,
    )
    preprocessing = fit_preprocessing(config, source, dataset.train_images, identity)
    test = torch.arange(len(dataset.test_labels))
    size = (len(train) + len(validation) + len(test)) * dataset.train_images[0].numel()
    where: Literal["float", "uint8", "stream"]
    where = choose_placement(size, device) if config.placement == "auto" else config.placement

    def images(pixels: Tensor, rows: Tensor) -> Images:
        return place(pixels, rows, preprocessing, device, where)

    return RealData(
        images(dataset.train_images, train),
        dataset.train_labels[train].to(device),
        images(dataset.train_images, validation),
        dataset.train_labels[validation].to(device),
        images(dataset.test_images, test),
        dataset.test_labels.to(device),
        dataset.class_names,
        preprocessing,
        _data_id(identity, preprocessing),
        dataset.notes,
        dataset.warnings,
    )


def _data_id(content_id: str, preprocessing: Preprocessing) -> str:
    """Content id, with the name of the constants where they do not follow from content and settings alone."""
    return f"{content_id}-{preprocessing.name}" if preprocessing.name in LITERATURE else content_id


def fit_preprocessing(config: DataConfig, source: Source, images: Tensor, content_id: str) -> Preprocessing:
    """The preprocessing of the settings for a training split uint8 [n, C, H, W].

    Raises:
        ConfigError: constants of a dataset with another number of channels, or images too large for ZCA.
    """
    channels = images.shape[1]
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    if config.preprocess == "zca":
        size = images[0].numel()
        if size > LARGEST_ZCA:
            reason = f"images of {size} numbers need a {size}x{size} matrix; at most {LARGEST_ZCA} (64x64 rgb)"
            raise ConfigError([Problem("data.preprocess", "zca", f"{reason}; use standard, or a smaller image_size")])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Preprocessing(zeros, ones, cached_zca(images, content_id, cache_folder(config), device=device), "zca")
    if config.preprocess == "none":
        return Preprocessing(zeros, ones, name="none")
    name = source.statistics if config.statistics == "auto" else config.statistics
    if name in LITERATURE:
        mean, std = LITERATURE[name]
        if len(mean) == channels:
            return Preprocessing(mean, std, name=name)
        if config.statistics != "auto":
            reason = f"its constants are for {len(mean)} channels, the images have {channels}; use computed"
            raise ConfigError([Problem("data.statistics", name, reason)])
    return Preprocessing(*channel_statistics(images), name="computed")
