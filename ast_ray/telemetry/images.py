"""A PNG grid of synthetic images, a row per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.storage.atomic import atomic_path

GAP = 2


def grid(synthetic: SyntheticSet, *, columns: int = 10, side: int = 64) -> np.ndarray:
    """Return uint8 [rows, width, 3]: up to ``columns`` images per class, enlarged to about ``side`` pixels."""
    pixels = (synthetic.pixels() * 255).round().byte().numpy()
    factor = max(1, side // pixels.shape[2])
    pixels = pixels.repeat(factor, axis=2).repeat(factor, axis=3)
    if pixels.shape[1] == 1:
        pixels = pixels.repeat(3, axis=1)
    labels = synthetic.labels.numpy()
    shown = min(columns, synthetic.ipc)
    height, width = pixels.shape[2] + GAP, pixels.shape[3] + GAP
    classes = len(synthetic.class_names)
    across = max(1, columns // shown) if shown < columns else 1
    down = -(-classes // across)
    canvas = np.full((down * height + GAP, across * shown * width + GAP, 3), 255, np.uint8)
    for label in range(classes):
        for place, image in enumerate(pixels[labels == label][:shown]):
            top = GAP + label // across * height
            left = GAP + (label % across * shown + place) * width
            canvas[top : top + image.shape[1], left : left + image.shape[2]] = image.transpose(1, 2, 0)
    return canvas


def save_grid(path: Path, synthetic: SyntheticSet) -> None:
    """Write the grid as PNG, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(grid(synthetic)).save(temporary, format="PNG")
