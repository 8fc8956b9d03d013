"""Pictures: whole, in one mode, in the formats this package writes or may be given."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage.containers.opening import parsing, require_file
from ast_ray.storage.picture import open_picture


def read_picture(
    path: Path, mode: str | None = None, *, hint: str = "", error: type[AstRayError] = StoreError
) -> np.ndarray:
    """Return the pixels of a PNG as stored, or converted to ``mode``.

    Raises:
        error: missing, damaged, too large to be meant, or no PNG.
    """
    require_file(path, error)
    with parsing(path, error, hint=hint, told="not a readable picture"), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with open_picture(path, ("PNG",)) as picture:
            picture.verify()  # the checksums of its chunks, which decoding does not look at; it takes the picture up
        with open_picture(path, ("PNG",)) as picture:
            return np.asarray(picture if mode is None else picture.convert(mode))
