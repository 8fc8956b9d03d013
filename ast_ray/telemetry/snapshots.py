"""The synthetic images as they were along the distillation: one small PNG per moment, cut back on resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.storage import mirror
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.run_directory import moments

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
        self._folder = folder
        for iteration, path in moments(folder).items():
            if iteration > after:
                mirror.remove(path)

    def take(self, iteration: int, synthetic: SyntheticSet) -> None:
        """Write the set of this iteration, atomically."""
        with atomic_path(self._folder / f"iteration-{iteration:06d}.png") as temporary:
            Image.fromarray(sheet(synthetic)).save(temporary, format="PNG", optimize=True)
