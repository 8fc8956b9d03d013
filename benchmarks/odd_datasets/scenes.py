"""Pictures closer to what people photograph: landscapes in colour, and clothes as grey silhouettes of 28 px."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from benchmarks.odd_datasets.drawing import Array, axes, hues, noisy, per_image, smooth

LANDSCAPES = ("coast", "forest", "town")
CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
CLOTHES_SIDE = 28


def landscape(rng: Generator, kind: int, height: int, width: int) -> Array:
    """Draw one landscape of ``LANDSCAPES`` [height, width, 3] with its own horizon, light and season.

    Colours tell the kinds apart only in part: any ground may be of any hue at dusk.
    """
    y, x = axes(height, width)
    horizon = rng.uniform(-0.5, 0.5)
    sky = hues(rng.uniform(0.5, 0.75, 1), light=0.7)[0] * rng.uniform(0.7, 1.2)
    picture = sky * (0.9 - 0.15 * y)[..., None] + 0.15 * smooth(rng, 1, height, width, cells=5)[0][..., None]
    picture = np.broadcast_to(picture, (height, width, 3)).copy()
    ground = np.broadcast_to(y > horizon, (height, width))
    picture[ground] = {0: _sea, 1: _trees, 2: _houses}[kind](rng, y, x, horizon)[ground]
    if rng.random() < 0.5:
        picture = picture.mean(-1, keepdims=True) * hues(rng.uniform(0, 1, 1), light=0.8)
    light = rng.uniform(0.4, 1.15) + 0.3 * (smooth(rng, 1, height, width, cells=3)[0][..., None] - 0.5)
    return noisy(rng, np.clip(picture * light, 0, 1), 0.07)


def _sea(rng: Generator, y: Array, x: Array, horizon: float) -> Array:
    waves = 0.5 + 0.5 * np.sin(rng.uniform(12, 30) * y + 1.5 * np.sin(4 * x + rng.uniform(0, 6)))
    water = hues(rng.uniform(0.45, 0.65, 1), light=0.4)[0] * (0.7 + 0.4 * waves)[..., None]
    beach = y > rng.uniform(0.4, 0.8) + rng.uniform(-0.3, 0.3) * x
    sand = np.array([0.8, 0.7, 0.5]) * rng.uniform(0.7, 1.1)
    return np.where(beach[..., None], sand, water)


def _trees(rng: Generator, y: Array, x: Array, horizon: float) -> Array:
    height, width = y.shape[0], x.shape[1]
    leaves = smooth(rng, 1, height, width, cells=int(rng.integers(12, 20)))[0]
    green = hues(rng.uniform(0.22, 0.42, 1), light=0.35)[0]
    picture = green * (0.5 + 0.9 * leaves)[..., None]
    for _ in range(int(rng.integers(3, 8))):
        trunk = abs(x - rng.uniform(-1.1, 1.1)) < rng.uniform(0.03, 0.09)
        picture[np.broadcast_to(trunk, (height, width))] = np.array([0.3, 0.2, 0.12]) * rng.uniform(0.6, 1.4)
    return picture


def _houses(rng: Generator, y: Array, x: Array, horizon: float) -> Array:
    height, width = y.shape[0], x.shape[1]
    picture = np.full((height, width, 3), rng.uniform(0.3, 0.5))
    left = -1.4
    while left < 1.4:
        wide, roof = rng.uniform(0.3, 0.7), horizon + rng.uniform(0, 0.5)
        house = (x > left) & (x < left + wide) & (y > roof)
        rows, columns = (np.sin(rng.uniform(14, 24) * axis) > 0.3 for axis in (y, x))
        wall = hues(rng.uniform(0, 0.15, 1), light=0.5)[0] * rng.uniform(0.6, 1.3)
        picture[house] = wall
        picture[house & rows & columns] = wall * rng.choice([0.3, 1.8])
        left += wide + rng.uniform(0, 0.15)
    return picture


def clothes(rng: Generator, kinds: Array) -> Array:
    """Draw silhouettes of ``CLOTHES`` [n, 28, 28], light on black, with varied cut, fabric, place and noise."""
    pictures = np.empty((len(kinds), CLOTHES_SIDE, CLOTHES_SIDE))
    y, x = axes(CLOTHES_SIDE, CLOTHES_SIDE)
    for kind in range(len(CLOTHES)):
        chosen = np.flatnonzero(kinds == kind)
        count = len(chosen)
        scale_y, scale_x = per_image(rng, count, 0.75, 1.15), per_image(rng, count, 0.75, 1.15)
        moved_y = (y - per_image(rng, count, -0.2, 0.2)) / scale_y
        moved_x = (x - per_image(rng, count, -0.2, 0.2)) / scale_x * rng.choice([-1.0, 1.0], (count, 1, 1))
        lean = per_image(rng, count, -0.15, 0.15)
        pictures[chosen] = _garment(rng, kind, moved_y, moved_x + lean * moved_y, count)
    fabric = 0.4 + 0.9 * smooth(rng, len(kinds), CLOTHES_SIDE, CLOTHES_SIDE, cells=7)
    stripes = 1 - per_image(rng, len(kinds), 0, 0.5) * (np.sin(per_image(rng, len(kinds), 5, 20) * y) > 0)
    light = per_image(rng, len(kinds), 0.35, 1.0)
    return noisy(rng, np.clip(pictures * fabric * stripes * light, 0, 1), 0.08)


def _garment(rng: Generator, kind: int, y: Array, x: Array, count: int) -> Array:
    """Coverage (0 or 1, seams between) of one kind of garment in its own coordinates."""
    name, across = CLOTHES[kind], abs(x)

    def draw(low: float, high: float) -> Array:
        return per_image(rng, count, low, high)

    if name == "trouser":
        legs = (across > draw(0.05, 0.2) * (y + 0.5)) | (y < -0.4)
        return ((across < draw(0.3, 0.5)) & (abs(y) < 0.9) & legs).astype(float)
    if name == "dress":
        waist = draw(0.15, 0.3) + draw(0.15, 0.3) * abs(y + 0.2)
        return ((across < waist) & (abs(y) < 0.9)).astype(float)
    if name == "bag":
        handle = abs(np.hypot(x, y + draw(0.1, 0.3)) - draw(0.4, 0.55)) < 0.1
        return (((across < draw(0.5, 0.85)) & (y > -0.2) & (y < draw(0.5, 0.8))) | (handle & (y < 0))).astype(float)
    if name in ("sandal", "sneaker", "boot"):
        return _shoe(name, y, x, draw)
    longest = {"t-shirt": (0.25, 0.55), "shirt": (0.3, 1.2), "pullover": (0.8, 1.3), "coat": (0.9, 1.4)}[name]
    wide, reach = draw(0.35, 0.5), draw(0.2, 0.4)
    torso = (across < wide) & (y > -0.7) & (y < (draw(0.75, 0.95) if name == "coat" else draw(0.55, 0.8)))
    outside = across - wide
    sleeve = (outside > -0.1) & (outside < reach) & (y > outside - 0.7) & (y < outside - 0.7 + draw(*longest))
    found = (torso | sleeve).astype(float)
    if name in ("shirt", "coat"):
        seam = across < (draw(0.03, 0.08) if name == "coat" else draw(0.0, 0.06))
        found = np.where(seam & torso, 0.4 * found, found)
    return np.where((np.hypot(x, y + 0.75) < draw(0.1, 0.25)) & (y < -0.5), 0, found)


def _shoe(name: str, y: Array, x: Array, draw: Callable[[float, float], Array]) -> Array:
    sole = (abs(x) < 0.9) & (y > 0.35) & (y < 0.55)
    slope = (y > 0.1 + draw(0.2, 0.5) * (x - 0.2)) & (y < 0.45) & (abs(x) < 0.9)
    if name == "sandal":
        straps = np.sin(draw(6, 11) * (x + 0.5 * y)) > draw(0.0, 0.5)
        return (sole | (slope & straps)).astype(float)
    if name == "sneaker":
        collar = (x < -0.1) & (x > -0.85) & (y > draw(-0.3, -0.05)) & (y < 0.4)
        return (sole | slope | collar).astype(float)
    shaft = (x < draw(-0.15, 0.2)) & (x > -0.85) & (y > draw(-0.9, -0.4)) & (y < 0.4)
    return (sole | slope | shaft).astype(float)
