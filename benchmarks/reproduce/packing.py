"""CIFAR-10 in parts that each fit beside the checkout where only so much travels at once, and their way back together.

    python -m benchmarks.reproduce pack FOLDER OUT

copies the Parquet shards into OUT/part-1, OUT/part-2, ... of at most 58 MiB each.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ast_ray.errors import DataError

LIMIT = 58 * 2**20


def parts_of(sizes: Mapping[str, int], limit: int = LIMIT) -> list[list[str]]:
    """Spread files over as few parts as first-fit from the largest needs, each of at most ``limit`` bytes.

    Raises:
        DataError: one file alone is larger.

    >>> parts_of({"a": 3, "b": 2, "c": 2, "d": 1}, 4)
    [['a', 'd'], ['b', 'c']]
    """
    parts: list[list[str]] = []
    left: list[int] = []
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if sizes[name] > limit:
            raise DataError(f"{name}: {sizes[name] / 2**20:.0f} MiB, at most {limit / 2**20:.0f} MiB travel at once")
        place = next((number for number, room in enumerate(left) if room >= sizes[name]), len(parts))
        if place == len(parts):
            parts.append([])
            left.append(limit)
        parts[place].append(name)
        left[place] -= sizes[name]
    return parts


def pack(folder: Path, out: Path, limit: int = LIMIT) -> dict[str, list[str]]:
    """Copy a folder's Parquet shards into parts under ``out``; return the files of each part.

    Raises:
        DataError: no shards there.
    """
    sizes = {file.name: file.stat().st_size for file in sorted(folder.glob("*.parquet"))}
    if not sizes:
        raise DataError(f"{folder}: no Parquet shards here")
    packed = {}
    for number, names in enumerate(parts_of(sizes, limit), start=1):
        part = out / f"part-{number}"
        part.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(folder / name, part / name)
        packed[part.name] = names
    return packed
