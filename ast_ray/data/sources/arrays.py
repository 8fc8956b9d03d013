"""A NumPy archive: ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test`` and ``y_test``; ``class_names`` if wanted.

Images are [n, H, W], [n, H, W, C] or [n, C, H, W]: uint8, or floats in [0, 1]. Labels are integers [n].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ast_ray.data.sources.base import Listing, Source, numbered, out_of_range
from ast_ray.data.sources.chunks import pixel_chunks
from ast_ray.data.sources.files import content_key
from ast_ray.errors import DataError, counted
from ast_ray.storage.containers.numpy_files import read_npz


def npz_file(path: Path) -> Source:
    """Open an archive; nothing in it is unpickled.

    Raises:
        DataError: (when listed) missing or unusable arrays.
    """

    def listing() -> Listing:
        arrays = read_npz(path, error=DataError)
        if "x_train" in arrays:
            train, test = _pair(path, arrays, "x_train", "y_train"), _pair(path, arrays, "x_test", "y_test")
        else:
            train, test = _pair(path, arrays, "x", "y"), (np.empty(0, np.uint8), [])
        labels = [*train[1], *test[1]]
        names = _names(path, arrays["class_names"]) if "class_names" in arrays else numbered(str(path), labels)
        return Listing(pixel_chunks(*train), pixel_chunks(*test), names)

    return Source(str(path), content_key([path], path.parent), listing)


def _pair(path: Path, arrays: dict[str, np.ndarray], x: str, y: str) -> tuple[np.ndarray, list[int]]:
    missing = [name for name in (x, y) if name not in arrays]
    if missing:
        held = ", ".join(arrays) or "nothing"
        raise DataError(
            f"{path}: no array {missing[0]!r} (it holds {held}; expected x and y, or x_train, y_train, ...)"
        )
    pixels, labels = arrays[x], arrays[y]
    if pixels.ndim not in (3, 4) or not pixels.size or pixels.dtype.kind not in "uif":
        raise DataError(f"{path}: {x} is {pixels.dtype} of shape {pixels.shape}, expected [n, H, W] or [n, H, W, C]")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(pixels):
        reason = f"{labels.dtype} of shape {labels.shape} for {counted(len(pixels), 'image')}"
        raise DataError(f"{path}: {y} must hold one integer label per image of {x}, not {reason}")
    return _bytes(path, x, _channels_last(path, x, pixels)), [int(label) for label in labels]


def _names(path: Path, names: np.ndarray) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise DataError(f"{path}: class_names is {names.dtype} of shape {names.shape}, expected one name per class")
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8", "replace")
    return tuple(str(item) for item in names)


def _channels_last(path: Path, name: str, pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        return pixels
    if pixels.ndim == 4 and pixels.shape[3] in (1, 3, 4):
        return pixels
    if pixels.ndim == 4 and pixels.shape[1] in (1, 3, 4):
        return pixels.transpose(0, 2, 3, 1)
    raise DataError(f"{path}: {name} has shape {pixels.shape}, expected [n, H, W] or [n, H, W, C] with C = 1, 3 or 4")


def _bytes(path: Path, name: str, pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    kind, white = ("floats", 1) if np.issubdtype(pixels.dtype, np.floating) else (str(pixels.dtype), 255)
    if low >= 0 and high <= white:
        return (pixels * 255).round().astype(np.uint8) if white == 1 else pixels.astype(np.uint8)
    reason = f"{kind} from {low:g} to {high:g}; expected 0 to {white}: {out_of_range(low, high)}"
    raise DataError(f"{path}: {name} holds {reason}")
