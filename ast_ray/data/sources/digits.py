"""scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels, shipped with the package, no download."""

from __future__ import annotations

import numpy as np

from ast_ray.data.sources.base import Listing, Source
from ast_ray.data.sources.chunks import pixel_chunks

TEST_IMAGES = 500


def digits() -> Source:
    """The digits with a fixed stratified split: 1,297 training and 500 test images (the set has none of its own)."""

    def listing() -> Listing:
        from sklearn.datasets import load_digits  # two seconds, and needed only where the digits are decoded
        from sklearn.model_selection import train_test_split

        bunch = load_digits()
        pixels, labels = (bunch.images * (255 / 16)).round().astype(np.uint8), bunch.target
        train, test = train_test_split(range(len(labels)), test_size=TEST_IMAGES, random_state=0, stratify=labels)
        names = tuple(str(name) for name in bunch.target_names)
        return Listing(pixel_chunks(pixels[train], labels[train]), pixel_chunks(pixels[test], labels[test]), names)

    return Source("digits", "digits-sklearn-500", listing)
