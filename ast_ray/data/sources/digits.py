"""scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels, shipped with the package, no download."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ast_ray.data.sources.base import DecodedDataset, Source

TEST_IMAGES = 500


def digits() -> Source:
    """The digits with a fixed stratified split: 1,297 training and 500 test images (the set has none of its own)."""

    def decode() -> DecodedDataset:
        bunch = load_digits()
        pixels = (torch.from_numpy(bunch.images) * (255 / 16)).round().to(torch.uint8)[:, None]
        labels = torch.from_numpy(bunch.target).long()
        train, test = train_test_split(range(len(labels)), test_size=TEST_IMAGES, random_state=0, stratify=labels)
        names = tuple(str(name) for name in bunch.target_names)
        return DecodedDataset(pixels[train], labels[train], pixels[test], labels[test], names)

    return Source("digits", "digits-sklearn-500", decode)
