"""Pictures of synthetic images: a PNG grid with a row per class, and one per moment of the distillation.

Snapshots of iterations that a resumed run does again are deleted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.folder import Folder
from ast_ray.storage.run_directory import moments

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


COLUMNS = 10
MOMENTS = 20


def sheet(synthetic: SyntheticSet, *, columns: int = COLUMNS) -> np.ndarray:
    """Return uint8 [K*H, n*W] (grey) or [K*H, n*W, 3]: a row per class, its first n <= ``columns`` images, no gaps."""
    pixels = (synthetic.pixels() * 255).round().byte().numpy()
    labels, shown = synthetic.labels.numpy(), min(columns, synthetic.ipc)
    rows = [
        np.concatenate(list(pixels[labels == label][:shown]), axis=2) for label in range(len(synthetic.class_names))
    ]
    whole: np.ndarray = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    return whole[:, :, 0] if whole.shape[2] == 1 else whole[:, :, :3]


def due(iteration: int, iterations: int) -> bool:
    """About `MOMENTS` evenly spaced iterations of a distillation; validations and the last one come on top."""
    return iteration % max(1, iterations // MOMENTS) == 0 or iteration == iterations


class Snapshots:
    """A folder of ``iteration-<number>.png``."""

    def __init__(self, folder: Path, *, after: int) -> None:
        """Go on in ``folder``, dropping what is later than iteration ``after``."""
        self._folder = Folder(folder)
        for iteration, path in moments(folder).items():
            if iteration > after:
                self._folder.remove(path)

    def take(self, iteration: int, synthetic: SyntheticSet) -> None:
        """Write the set of this iteration, atomically."""
        with atomic_path(self._folder.path / f"iteration-{iteration:06d}.png") as temporary:
            Image.fromarray(sheet(synthetic)).save(temporary, format="PNG", optimize=True)
