"""The odd data sets: name, oddity, maker; written into a folder, the same bytes from the same seed."""

from __future__ import annotations

import inspect
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ast_ray.errors import ConfigError, Problem, StoreError, suggestion
from benchmarks.odd_datasets import making

_MARK = ".odd-datasets"


@dataclass(frozen=True)
class OddSet:
    """One set: ``make`` writes it; ``file`` is the source's name in its folder where that is not the folder itself.

    ``case``: one of the first commands of a new user that once failed, rather than an oddity. ``ends``: how a run
    should end: some sets cannot be used as they are. ``options``: settings of the command, for cases only.
    """

    make: Callable[..., None]
    file: str = ""
    case: bool = False
    ends: Literal["result", "refusal", "either"] = "result"
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the set and of its folder."""
        return self.make.__name__.replace("_", "-")

    @property
    def oddity(self) -> str:
        """The set in one sentence."""
        return inspect.getdoc(self.make) or ""

    @property
    def needs_cifar10(self) -> bool:
        """True where the maker takes images of CIFAR-10."""
        return "cifar10" in inspect.signature(self.make).parameters

    def source(self, sets: Path) -> Path:
        """The path to give as ``--source``."""
        return sets / self.name / self.file


_ALL = (
    OddSet(making.photos, case=True),
    OddSet(making.clothes_npz, "clothes.npz", case=True, options=("--train-size", "2000")),
    OddSet(making.small_splits, case=True),
    OddSet(making.digits_folder),
    OddSet(making.cifar10_folder),
    OddSet(making.cifar10_parquet),
    OddSet(making.two_classes),
    OddSet(making.two_hundred_classes),
    OddSet(making.ten_per_class),
    OddSet(making.imbalanced),
    OddSet(making.large_images),
    OddSet(making.mixed_sizes),
    OddSet(making.huge_images),
    OddSet(making.rgba_icons),
    OddSet(making.grey_16_bit),
    OddSet(making.palette),
    OddSet(making.normalised_floats, "normalised.npz", ends="either"),
    OddSet(making.digits_half_negative, "digits.npz"),
    OddSet(making.constant_images),
    OddSet(making.label_noise),
    OddSet(making.nearly_identical),
    OddSet(making.colour_only),
    OddSet(making.texture_only),
    OddSet(making.class_named_train),
    OddSet(making.three_images),
    OddSet(making.two_images),
    OddSet(making.single_class, ends="refusal"),
    OddSet(making.empty_class, ends="refusal"),
    OddSet(making.corrupt_file, ends="refusal"),
)
SETS = {item.name: item for item in _ALL}


def chosen(names: Sequence[str]) -> list[OddSet]:
    """Return the sets of these names, all of them without a name.

    Raises:
        ConfigError: unknown names, with the nearest known one.
    """
    problems = [Problem("set", name, f"unknown set{suggestion(name, SETS)}") for name in names if name not in SETS]
    if problems:
        raise ConfigError(problems)
    return [SETS[name] for name in names or SETS]


def claim(folder: Path) -> None:
    """Mark a new or empty folder as one whose contents may be deleted and made again.

    Raises:
        StoreError: the folder holds files and no mark, so that they are someone else's.
    """
    if not (folder / _MARK).exists():
        if folder.exists() and any(folder.iterdir()):
            raise StoreError(f"{folder}: holds other files; choose a new or empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARK).touch()


def make(odd: OddSet, sets: Path, *, seed: int = 0, cifar10: Path | None = None) -> Path:
    """Write a set afresh into ``sets/<name>`` and return its source.

    Raises:
        ConfigError: the set needs CIFAR-10 and there is none; StoreError: the folder holds something else.
    """
    extra: dict[str, Any] = {}
    if odd.needs_cifar10:
        if cifar10 is None:
            raise ConfigError([Problem("set", odd.name, "needs CIFAR-10 as Parquet: --cifar10 or AST_RAY_CIFAR10")])
        extra = {"cifar10": cifar10}
    claim(sets)
    folder, partial = sets / odd.name, sets / f".{odd.name}.partial"
    for old in (folder, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    odd.make(np.random.default_rng([seed, zlib.crc32(odd.name.encode())]), partial, **extra)
    partial.rename(folder)
    return odd.source(sets)
