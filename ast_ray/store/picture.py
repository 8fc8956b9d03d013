"""The one opener of pictures: formats on a list, by their content, whatever their names say.

Pillow knows dozens of formats more, some of which start other programs (EPS: Ghostscript) or have seen few eyes.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

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


def open_picture(source: Path | bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open a picture from a file or from its bytes; its pixels are decoded when they are asked for.

    Raises:
        UNREADABLE: not a picture in one of the formats, damaged, or far too large.
    """
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
