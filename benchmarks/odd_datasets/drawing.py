"""Procedural images: shapes, gratings and smooth noise, as floats [n, side, side] or [n, side, side, 3] in [0, 1].

Every function draws all n images at once. What varies within a class comes from the generator, what makes the class
is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.random import Generator

Array = np.ndarray[Any, Any]
_FULL_TURN = 2 * np.pi


def _cross(u: Array, v: Array) -> Array:
    across, along = (np.maximum(abs(a) - 1, abs(b) - 0.3) for a, b in ((u, v), (v, u)))
    return np.minimum(across, along)


# Signed distances to the edge in units of the shape's radius: negative inside.
_DISTANCES: Mapping[str, Callable[[Array, Array], Array]] = {
    "disc": lambda u, v: np.hypot(u, v) - 1,
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.75) - 0.25,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) - 0.85,
    "frame": lambda u, v: abs(np.maximum(abs(u), abs(v)) - 0.7) - 0.2,
    "triangle": lambda u, v: np.maximum(0.866 * abs(u) + 0.5 * v, -v) - 0.5,
    "cross": _cross,
    "bar": lambda u, v: np.maximum(abs(u) - 1, abs(v) - 0.3),
    "diamond": lambda u, v: 0.7 * (abs(u) + abs(v) - 1),
    "crescent": lambda u, v: np.maximum(np.hypot(u, v) - 1, 0.8 - np.hypot(u - 0.5, v)),
    "pair": lambda u, v: np.hypot(abs(u) - 0.6, v) - 0.4,
}
SHAPES = tuple(_DISTANCES)


def axes(height: int, width: int) -> tuple[Array, Array]:
    """Return y [height, 1] and x [1, width] of pixel centres; the shorter side spans [-1, 1]."""
    unit = min(height, width)
    y, x = ((2 * np.arange(size) + 1 - size) / unit for size in (height, width))
    return y[:, None], x[None, :]


def per_image(rng: Generator, count: int, low: float, high: float) -> Array:
    """Draw one uniform value per image, [count, 1, 1]."""
    return rng.uniform(low, high, (count, 1, 1))


def masks(rng: Generator, kinds: Array, side: int, *, radius: float = 0.6, turn: float = 0.3) -> Array:
    """Draw the shapes ``SHAPES[kinds]`` as coverage [n, side, side], each moved, scaled and turned at random.

    ``turn``: largest rotation, in radians; ``radius``: of the mean size, half the image being 1.
    """
    count = len(kinds)
    y, x = axes(side, side)
    size = radius * per_image(rng, count, 0.8, 1.2)
    angle = per_image(rng, count, -turn, turn)
    y, x = y - per_image(rng, count, -0.2, 0.2), x - per_image(rng, count, -0.2, 0.2)
    u, v = (x * np.cos(angle) + y * np.sin(angle)) / size, (y * np.cos(angle) - x * np.sin(angle)) / size
    found = np.empty((count, side, side))
    for number, name in enumerate(SHAPES):
        chosen = kinds == number
        pixels = _DISTANCES[name](u[chosen], v[chosen]) * size[chosen] * side / 2
        found[chosen] = np.clip(0.5 - pixels, 0, 1)
    return found


def gratings(rng: Generator, angles: Array, cycles: Array, side: int) -> Array:
    """Draw sine gratings [n, side, side] of an angle (radians) and a number of cycles per image, phases at random."""
    y, x = axes(side, side)
    along = x * np.cos(angles)[:, None, None] + y * np.sin(angles)[:, None, None]
    phase = per_image(rng, len(angles), 0, _FULL_TURN)
    return 0.5 + 0.5 * np.sin(np.pi * cycles[:, None, None] * along + phase)


def smooth(rng: Generator, count: int, height: int, width: int, *, cells: int = 4) -> Array:
    """Draw smooth noise [count, height, width]: a random grid of ``cells`` per side, interpolated linearly."""
    rows, columns = (_interpolation(cells, size) for size in (height, width))
    return np.einsum("hi,nij,wj->nhw", rows, rng.uniform(0, 1, (count, cells, cells)), columns)


def _interpolation(cells: int, size: int) -> Array:
    place = np.linspace(0, cells - 1, size)
    return np.clip(1 - abs(place[:, None] - np.arange(cells)[None, :]), 0, None)


def hues(values: Array, *, light: float = 0.5) -> Array:
    """Return colours [n, 3] of hues in [0, 1) around a lightness."""
    room = min(light, 1 - light)
    return light + room * np.cos(_FULL_TURN * (values[:, None] - np.array([0, 1 / 3, 2 / 3])))


def painted(coverage: Array, front: Array, back: Array) -> Array:
    """Lay colours ``front`` [n, 3] over ``back`` ([n, 3] or images) by a coverage [n, H, W]; return [n, H, W, 3]."""
    behind = back[:, None, None, :] if back.ndim == 2 else back
    return coverage[..., None] * front[:, None, None, :] + (1 - coverage[..., None]) * behind


def noisy(rng: Generator, images: Array, amount: float) -> Array:
    """Add independent normal noise to every number and clip to [0, 1]."""
    return np.clip(images + rng.normal(0, amount, images.shape), 0, 1)


def shape_pictures(rng: Generator, kinds: Array, side: int, *, noise: float = 0.06) -> Array:
    """Draw shapes in random bright colours on dark smooth backgrounds [n, side, side, 3]: the class is the shape."""
    count = len(kinds)
    front = hues(rng.uniform(0, 1, count), light=0.65)
    ground = smooth(rng, count, side, side)[..., None] * hues(rng.uniform(0, 1, count), light=0.3)[:, None, None, :]
    return noisy(rng, painted(masks(rng, kinds, side), front, ground), noise)


def to_bytes(images: Array) -> Array:
    """Return floats in [0, 1] as uint8."""
    return (images * 255).round().astype(np.uint8)
