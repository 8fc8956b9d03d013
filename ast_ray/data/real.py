"""The real images of a run: training, validation and test tensors in model space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ast_ray.config.settings import DataConfig
from ast_ray.data.cache import decoded
from ast_ray.data.preprocess import Preprocessing, channel_statistics, fit_zca
from ast_ray.data.sources import open_source
from ast_ray.data.splits import split_rows

# The literature's constants (presets of the trajectory-matching line of work): std is the mean of per-image stds.
_LITERATURE = {"cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))}


@dataclass(frozen=True, eq=False)
class RealData:
    """Real images [n, C, H, W] float32 in model space and labels int64 [n], per split, on one device."""

    train_images: Tensor
    train_labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    data_id: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)


def load_real_data(config: DataConfig, device: torch.device | str = "cpu") -> RealData:
    """Read, split and normalise the images of a run.

    Statistics are those of the whole training split, or the literature's for a dataset that has them.

    Raises:
        DataError: the source cannot be read or does not fit; ConfigError: an unknown source or impossible sizes.
    """
    root = Path(config.root).expanduser()
    dataset, identity = decoded(open_source(config), root)
    train, validation = split_rows(
        dataset.train_labels,
        validation_size=config.validation_size,
        train_size=config.train_size,
        seed=config.split_seed,
    )
    preprocessing = _fit(config, dataset.train_images)

    def images(pixels: Tensor) -> Tensor:
        return preprocessing(pixels).to(device)

    return RealData(
        images(dataset.train_images[train]),
        dataset.train_labels[train].to(device),
        images(dataset.train_images[validation]),
        dataset.train_labels[validation].to(device),
        images(dataset.test_images),
        dataset.test_labels.to(device),
        dataset.class_names,
        preprocessing,
        identity,
    )


def _fit(config: DataConfig, images: Tensor) -> Preprocessing:
    channels = images.shape[1]
    if config.preprocess == "zca":
        return Preprocessing((0.0,) * channels, (1.0,) * channels, fit_zca(images))
    if config.preprocess == "none":
        return Preprocessing((0.0,) * channels, (1.0,) * channels)
    mean, std = _LITERATURE.get(config.source) or channel_statistics(images)
    return Preprocessing(mean, std)
