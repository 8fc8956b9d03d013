"""Pictures: opened in formats on a list, by their content, whatever their names say; whole, and in one mode.

Pillow knows dozens of formats more, some of which start other programs (EPS: Ghostscript) or have seen few eyes.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage.containers.opening import parsing, require_file

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for a picture that cannot be opened or decoded."""
LARGEST = 175_000_000
"""Pixels of the largest picture that is opened: 0.5 GB as rgb, and a little less than what Pillow refuses."""
_FILTERS = threading.Lock()  # warning filters belong to the whole process
_TOO_LARGE = f"more than the {LARGEST // 10**6} million pixels that are opened; save it smaller"


def open_picture(source: Path | bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open a picture from a file or from its bytes; its pixels are decoded when they are asked for.

    Raises:
        UNREADABLE: not a picture in one of the formats, damaged, or of more than `LARGEST` pixels.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is the one below
            picture = Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise ValueError(_TOO_LARGE) from error
    width, height = picture.size
    if width * height > LARGEST:
        picture.close()
        raise ValueError(f"{width}x{height} px; {_TOO_LARGE}")
    return picture


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
