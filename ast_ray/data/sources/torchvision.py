"""Datasets that torchvision knows how to download and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ast_ray.data.sources.base import Listing, Source
from ast_ray.data.sources.chunks import pixel_chunks
from ast_ray.errors import DataError

NAMES = ("mnist", "fashion-mnist", "svhn", "cifar10", "cifar100")


def torchvision_dataset(name: str, root: Path, *, download: bool) -> Source:
    """MNIST, FashionMNIST, SVHN (train and test, without extra), CIFAR-10 or CIFAR-100, under ``root``."""

    def listing() -> Listing:
        train_pixels, train_labels, names = _split(name, root, train=True, download=download)
        test_pixels, test_labels, _ = _split(name, root, train=False, download=download)
        return Listing(pixel_chunks(train_pixels, train_labels), pixel_chunks(test_pixels, test_labels), names)

    return Source(name, f"torchvision-{name}-{root}", listing, statistics=name)


def _split(name: str, root: Path, *, train: bool, download: bool) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    """Pixels uint8 [n, H, W] or [n, H, W, C], labels, class names."""
    try:
        data = _open(name, root, train=train, download=download)
    except Exception as error:  # torchvision's readers raise whatever they meet in a damaged file
        raise DataError(
            f"{name}: torchvision could not provide it under {root}: {error}; "
            "give a folder of images or Parquet shards as data.source, or let it be downloaded (--download)"
        ) from error
    pixels = np.asarray(data.data)
    if name == "svhn":  # stored channels first, labels as 0..9 already
        return pixels.transpose(0, 2, 3, 1), [int(label) for label in data.labels], tuple("0123456789")
    return pixels, [int(label) for label in data.targets], tuple(str(item) for item in data.classes)


def _open(name: str, root: Path, *, train: bool, download: bool) -> Any:
    from torchvision import datasets

    if name == "svhn":
        return datasets.SVHN(str(root), split="train" if train else "test", download=download)
    kinds = {
        "mnist": datasets.MNIST,
        "fashion-mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }
    return kinds[name](str(root), train=train, download=download)
