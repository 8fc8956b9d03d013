"""The synthetic images as data URIs, by class and by iteration, within a number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ast_ray.errors import StoreError

ACROSS = 5
LOSSLESS_SIDE = 40
COPIES = 2  # before and after stand in the page itself, beside the frames that the slider takes them from


@dataclass(frozen=True)
class Frames:
    """Frames of one distillation: ``tiles[k][f]`` is class k at ``iterations[f]``, ``columns`` images side by side."""

    iterations: tuple[int, ...]
    tiles: tuple[tuple[str, ...], ...]
    columns: int
    shown: int

    @property
    def bytes(self) -> int:
        """Length of all data URIs."""
        return sum(len(tile) for row in self.tiles for tile in row)


def read_sheet(path: Path, image_shape: Sequence[int]) -> np.ndarray:
    """Return uint8 [K, n, H, W, C] from a snapshot of rows of classes.

    Raises:
        StoreError: not a picture, or not made of images of that shape.
    """
    _, height, width = image_shape
    try:
        with Image.open(path) as picture:
            whole = np.asarray(picture)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not a readable picture ({error}); delete it") from error
    if whole.ndim == 2:
        whole = whole[:, :, None]
    down, left_down = divmod(whole.shape[0], height)
    across, left_across = divmod(whole.shape[1], width)
    if left_down or left_across or not down or not across:
        raise StoreError(f"{path}: {whole.shape[1]}x{whole.shape[0]} px is no sheet of {width}x{height} px images")
    return whole.reshape(down, height, across, width, -1).transpose(0, 2, 1, 3, 4)


def tile(images: np.ndarray) -> str:
    """Images uint8 [n, H, W, C] as one data URI, `ACROSS` to a line; lossless up to `LOSSLESS_SIDE` px, else WebP."""
    count, height, width, channels = images.shape
    across = min(count, ACROSS)
    down = -(-count // across)
    canvas = np.zeros((down * height, across * width, channels), np.uint8)
    for place, image in enumerate(images):
        top, left = place // across * height, place % across * width
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)
    stream = io.BytesIO()
    if height <= LOSSLESS_SIDE:
        picture.save(stream, format="PNG")
        kind = "png"
    else:
        picture.save(stream, format="WEBP", quality=82)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def load_frames(
    snapshots: Mapping[int, Path], image_shape: Sequence[int], *, published: int | None, budget: int
) -> Frames | None:
    """Choose classes, images per class and iterations so that the page's data URIs stay within about ``budget`` bytes.

    The first, the ``published`` and the last iteration are always among them; the others are spread evenly. Where even
    those three do not fit, fewer images per class are shown, and with one image per class fewer classes.
    """
    if not snapshots:
        return None
    numbers = sorted(snapshots)
    must = sorted({numbers[0], numbers[-1], *(number for number in numbers if number == published)})
    sheets = {number: read_sheet(snapshots[number], image_shape) for number in must}
    if len({sheet.shape for sheet in sheets.values()}) > 1:
        raise StoreError(f"{snapshots[must[0]].parent}: snapshots of different sets")
    room = budget // (len(must) + COPIES)
    classes, shown, tiles = _fitting(sheets, room)
    # The later sheets are the ones that compress worst, so the largest so far bounds the rest.
    largest = max(sum(map(len, row)) for row in tiles.values())
    others = [number for number in numbers if number not in must]
    for number in _spread(others, max(0, budget // max(1, largest) - len(must) - COPIES)):
        tiles[number] = _row(read_sheet(snapshots[number], image_shape)[:classes], shown)
    order = sorted(tiles)
    by_class = tuple(tuple(tiles[number][label] for number in order) for label in range(classes))
    return Frames(tuple(order), by_class, min(shown, ACROSS), shown)


def _fitting(sheets: Mapping[int, np.ndarray], room: int) -> tuple[int, int, dict[int, list[str]]]:
    """Classes, images per class, and tiles of each sheet that keep every sheet within ``room`` bytes."""
    classes, whole = next(iter(sheets.values())).shape[:2]
    for shown in sorted({whole, *(count for count in (5, 3, 2, 1) if count < whole)}, reverse=True):
        tiles = {number: _row(sheet, shown) for number, sheet in sheets.items()}
        largest = max(sum(map(len, row)) for row in tiles.values())
        if largest <= room:
            return classes, shown, tiles
    fewer = max(1, classes * room // largest)
    return fewer, 1, {number: row[:fewer] for number, row in tiles.items()}


def _row(sheet: np.ndarray, shown: int) -> list[str]:
    return [tile(images[:shown]) for images in sheet]


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    if count >= len(numbers):
        return list(numbers)
    return [numbers[(2 * place + 1) * len(numbers) // (2 * count)] for place in range(count)]
