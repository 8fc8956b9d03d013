"""Datasets that torchvision knows how to download and read."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ast_ray.data.sources.base import DecodedDataset, Source
from ast_ray.errors import DataError


def cifar10(root: Path, *, download: bool) -> Source:
    """CIFAR-10: 50,000 and 10,000 colour images of 32x32 pixels, ten classes."""

    def decode() -> DecodedDataset:
        from torchvision.datasets import CIFAR10

        def split(train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
            try:
                data = CIFAR10(str(root), train=train, download=download)
            except (RuntimeError, OSError) as error:
                raise DataError(
                    f"cifar10: torchvision could not provide it under {root}: {error}; "
                    "pass a folder of Parquet shards as data.source, or set data.download"
                ) from error
            return (
                torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(),
                torch.tensor(data.targets),
                tuple(data.classes),
            )

        train_images, train_labels, names = split(True)
        test_images, test_labels, _ = split(False)
        return DecodedDataset(train_images, train_labels, test_images, test_labels, names)

    return Source("cifar10", f"torchvision-cifar10-{root}", decode)
