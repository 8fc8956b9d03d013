"""One chunk of images from bytes to uint8 pixels of one size: pure functions, the same in a thread or a Ray task.

Transparency is laid over white, 16-bit grey is scaled to 8 bits, floats are grey from 0 to 1, camera rotation is
applied, palettes become colours. Whole numbers of 32 bits or with a sign are refused: nothing says which is white.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from ast_ray.data.sources.base import out_of_range
from ast_ray.data.sources.chunks import Chunk, Failure
from ast_ray.storage.containers.pictures import UNREADABLE, open_picture

_GREY = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True)
class Target:
    """The format that every image is brought to: H x W pixels, 1 or 3 channels."""

    height: int
    width: int
    channels: Literal[1, 3]
    resize: Literal["crop", "stretch"] = "crop"


@dataclass(frozen=True)
class DecodeJob:
    """A chunk to decode, with its number in the whole."""

    number: int
    chunk: Chunk
    target: Target

    @property
    def key(self) -> str:
        """A name that is unique in its round."""
        return f"decode {self.number}"


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels uint8 [m, C, H, W] and labels of what could be decoded, and what could not.

    ``deep``: images of 16 bits among them; ``deepest``: their largest value.
    """

    pixels: np.ndarray
    labels: tuple[int, ...]
    failures: tuple[Failure, ...]
    deep: int = 0
    deepest: int = 0


def decode_chunk(job: DecodeJob) -> Decoded:
    """Decode, convert and resize every image of a chunk; failures are collected, not raised."""
    target = job.target
    pixels = np.empty((len(job.chunk.labels), target.channels, target.height, target.width), np.uint8)
    labels: list[int] = []
    failures: list[Failure] = []
    deep = deepest = 0
    for label, (name, content) in zip(job.chunk.labels, job.chunk.read(), strict=True):
        if isinstance(content, Failure):
            failures.append(content)
            continue
        try:
            pixels[len(labels)], largest = _decoded(content, target)
        except UNREADABLE as error:
            failures.append(Failure(name, _reason(error)))
            continue
        labels.append(label)
        if largest is not None:
            deep, deepest = deep + 1, max(deepest, largest)
    return Decoded(pixels[: len(labels)], tuple(labels), tuple(failures), deep, deepest)


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not an image of a known format" if "cannot identify image file" in text else text


def decode_image(content: bytes | np.ndarray, target: Target) -> np.ndarray:
    """One image as uint8 [C, H, W]."""
    return _decoded(content, target)[0]


def _decoded(content: bytes | np.ndarray, target: Target) -> tuple[np.ndarray, int | None]:
    """Return one image as uint8 [C, H, W], and the largest value of an image of 16 bits."""
    if isinstance(content, np.ndarray) and content.dtype != np.uint8:
        raise ValueError(f"pixels are {content.dtype}, expected uint8")
    image = _from_array(content) if isinstance(content, np.ndarray) else open_picture(content)
    with image:
        image.load()
        container = image.format
        largest = int(np.asarray(image).max()) if _sixteen_bit(image, container) else None
        if not isinstance(content, np.ndarray):
            image = _upright(image)
        image = _fit(_convert(_eight_bit(image, container), target.channels), target)
        pixels = np.asarray(image)
    return pixels[None] if target.channels == 1 else pixels.transpose(2, 0, 1), largest


def _from_array(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _upright(image: Image.Image) -> Image.Image:
    """Apply the camera's rotation; an image whose metadata is damaged is still an image."""
    try:
        return ImageOps.exif_transpose(image)
    except UNREADABLE:
        return image


def _sixteen_bit(image: Image.Image, container: str | None) -> bool:
    """Return whether values go from 0 to 65535, which is what Pillow brings deep grey of PPM to."""
    return image.mode.startswith("I;16") or (image.mode == "I" and container == "PPM")


def _eight_bit(image: Image.Image, container: str | None) -> Image.Image:
    """Scale deeper grey to 8 bits by the range of its type, where Pillow's own conversion clips.

    Raises:
        ValueError: floats outside [0, 1], or whole numbers whose range nobody states.
    """
    values = np.asarray(image) if image.mode[0] in "IF" else np.empty(0)
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"grey floats from {low:g} to {high:g}; expected 0 to 1: {out_of_range(low, high)}")
        scaled = values * 255
    elif _sixteen_bit(image, container):
        scaled = values / 257
    elif image.mode.startswith("I"):
        raise ValueError(
            "whole numbers of 32 bits or with a sign; save 8 or 16 bits without one, or floats from 0 to 1"
        )
    else:
        return image
    grey = Image.fromarray(scaled.round().astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _convert(image: Image.Image, channels: int) -> Image.Image:
    """To grey or RGB; transparency over white."""
    wanted = "L" if channels == 1 else "RGB"
    if _has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == wanted else image.convert(wanted)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _fit(image: Image.Image, target: Target) -> Image.Image:
    size = (target.width, target.height)
    if image.size == size:
        return image
    if target.resize == "stretch":
        return image.resize(size, Image.Resampling.BILINEAR)
    return ImageOps.fit(image, size, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Probe:
    """Counts from the headers of images: each (width, height), grey ones, transparent ones."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    grey: int = 0
    alpha: int = 0

    def __add__(self, other: Probe) -> Probe:
        return Probe(self.sizes + other.sizes, self.grey + other.grey, self.alpha + other.alpha)

    @property
    def images(self) -> int:
        """Images whose header can be read."""
        return sum(self.sizes.values())


@dataclass(frozen=True)
class ProbeJob:
    """A chunk to look at."""

    number: int
    chunk: Chunk

    @property
    def key(self) -> str:
        """A name that is unique in its round."""
        return f"probe {self.number}"


def probe_chunk(job: ProbeJob) -> Probe:
    """Read the headers of a chunk; what cannot be read is left to `decode_chunk` to report."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey = alpha = 0
    for _, content in job.chunk.read():
        if isinstance(content, Failure):
            continue
        try:
            with _from_array(content) if isinstance(content, np.ndarray) else open_picture(content) as image:
                sizes[image.size] += 1
                grey += image.mode in _GREY or image.mode.startswith("I;16")
                alpha += _has_alpha(image)
        except UNREADABLE:
            continue
    return Probe(sizes, grey, alpha)


def derived_target(
    probe: Probe, *, image_size: int, channels: Literal["auto", "grey", "rgb"], resize: Literal["crop", "stretch"]
) -> Target:
    """Fill in what the settings leave open: see ``data.image_size`` and ``data.channels``.

    One size up to 128 px is kept as it is. Mixed or larger images: the largest of 128, 64, 32, 16 and 8 px that the
    median shorter side still reaches, so that at least half of the images are not enlarged.
    """
    depth: Literal[1, 3] = 1 if channels == "grey" or (channels == "auto" and probe.grey == probe.images) else 3
    if image_size:
        return Target(image_size, image_size, depth, resize)
    (width, height), _ = probe.sizes.most_common(1)[0]
    if len(probe.sizes) == 1 and max(width, height) <= 128:
        return Target(height, width, depth, resize)
    sides = sorted(min(size) for size in probe.sizes.elements())
    median = sides[len(sides) // 2]
    side = next((side for side in (128, 64, 32, 16, 8) if side <= median), median)
    return Target(side, side, depth, resize)
