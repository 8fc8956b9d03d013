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
from ast_ray.storage.containers.pictures import read_picture

ACROSS = 5
MOMENTS = 12
COPIES = 2  # before and after stand in the page itself, beside the frames that the slider takes them from


@dataclass(frozen=True)
class Frames:
    """Frames of one distillation: ``tiles[k][f]`` is class k at ``iterations[f]``, ``columns`` images side by side."""

    iterations: tuple[int, ...]
    tiles: tuple[tuple[str, ...], ...]
    columns: int
    shown: int
    exact: bool

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
    whole = read_picture(path, hint="delete it")
    if whole.dtype != np.uint8:
        raise StoreError(f"{path}: pixels are {whole.dtype}, expected uint8; delete it")
    if whole.ndim == 2:
        whole = whole[:, :, None]
    down, left_down = divmod(whole.shape[0], height)
    beside, left_beside = divmod(whole.shape[1], width)
    if left_down or left_beside or not down or not beside:
        raise StoreError(f"{path}: {whole.shape[1]}x{whole.shape[0]} px is no sheet of {width}x{height} px images")
    return whole.reshape(down, height, beside, width, -1).transpose(0, 2, 1, 3, 4)


def across(count: int) -> int:
    """Images side by side: at most `ACROSS`, in lines of about equal length.

    >>> [across(count) for count in (1, 5, 6, 7, 10)]
    [1, 5, 3, 4, 5]
    """
    return -(-count // -(-count // ACROSS))


def tile(images: np.ndarray, *, exact: bool) -> str:
    """Images uint8 [n, H, W, C] as one data URI (WebP), `across` to a line; every pixel ``exact``, or a third as large.

    The last line is filled up with black.
    """
    count, height, width, channels = images.shape
    columns = across(count)
    canvas = np.zeros((-(-count // columns) * height, columns * width, channels), np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * height, place % columns * width
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)
    stream = io.BytesIO()
    picture.save(stream, format="WEBP", lossless=exact, quality=30 if exact else 88, method=2)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def load_frames(
    snapshots: Mapping[int, Path], image_shape: Sequence[int], *, published: int | None, budget: int
) -> Frames | None:
    """Choose classes, images per class and iterations so that the page's data URIs stay within about ``budget`` bytes.

    The first, the ``published`` and the last iteration are always among them; the others are spread evenly. Where even
    those three do not fit, fewer images per class are shown, and with one image per class fewer classes. Pixels are
    exact unless that leaves fewer than `MOMENTS` iterations or not all images.
    """
    if not snapshots:
        return None
    numbers = sorted(snapshots)
    must = sorted({numbers[0], numbers[-1], *(number for number in numbers if number == published)})
    sheets = {number: read_sheet(snapshots[number], image_shape) for number in must}
    whole = sheets[must[0]].shape[1]
    if len({sheet.shape for sheet in sheets.values()}) > 1:
        raise StoreError(f"{snapshots[must[0]].parent}: snapshots of different sets")
    for exact in (True, False):
        classes, shown, tiles = _fitting(sheets, budget // (len(must) + COPIES), exact=exact)
        # The later sheets are the ones that compress worst, so the largest so far bounds the rest.
        largest = max(sum(map(len, row)) for row in tiles.values())
        more = max(0, budget // max(1, largest) - len(must) - COPIES)
        if shown == whole and more + len(must) >= min(MOMENTS, len(numbers)):
            break
    for number in _spread([number for number in numbers if number not in must], more):
        tiles[number] = _row(read_sheet(snapshots[number], image_shape)[:classes], shown, exact=exact)
    order = sorted(tiles)
    by_class = tuple(tuple(tiles[number][label] for number in order) for label in range(classes))
    return Frames(tuple(order), by_class, across(shown), shown, exact)


def _fitting(sheets: Mapping[int, np.ndarray], room: int, *, exact: bool) -> tuple[int, int, dict[int, list[str]]]:
    """Classes, images per class, and tiles of each sheet that keep every sheet within ``room`` bytes."""
    classes, whole = next(iter(sheets.values())).shape[:2]
    for shown in sorted({whole, *(count for count in (5, 3, 2, 1) if count < whole)}, reverse=True):
        tiles = {number: _row(sheet, shown, exact=exact) for number, sheet in sheets.items()}
        largest = max(sum(map(len, row)) for row in tiles.values())
        if largest <= room:
            return classes, shown, tiles
    fewer = max(1, classes * room // largest)
    return fewer, 1, {number: row[:fewer] for number, row in tiles.items()}


def _row(sheet: np.ndarray, shown: int, *, exact: bool) -> list[str]:
    return [tile(images[:shown], exact=exact) for images in sheet]


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    if count >= len(numbers):
        return list(numbers)
    return [numbers[(2 * place + 1) * len(numbers) // (2 * count)] for place in range(count)]
