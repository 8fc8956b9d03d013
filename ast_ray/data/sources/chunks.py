"""Some images of one split, by reference: small, picklable, and readable on any machine that sees the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from ast_ray.config.files import file_problem, reason
from ast_ray.errors import DataError
from ast_ray.storage.containers.parquet_files import open_parquet

CHUNK = 512
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """An image or annotation that cannot be used, and why."""

    name: str
    reason: str


class Chunk(Protocol):
    """A few hundred images with their labels."""

    @property
    def labels(self) -> tuple[int, ...]:
        """One label per image."""

    def take(self, places: Sequence[int]) -> Chunk:
        """The images at these places only."""

    def read(self) -> Iterator[tuple[str, bytes | np.ndarray | Failure]]:
        """Name and encoded bytes (or raw pixels) of every image, in order; a failure stands in for what is missing."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files, by path; ``root`` is left out of their names."""

    root: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def take(self, places: Sequence[int]) -> ImageFiles:
        """See `Chunk.take`."""
        return ImageFiles(self.root, _pick(self.paths, places), _pick(self.labels, places))

    def read(self) -> Iterator[tuple[str, bytes | np.ndarray | Failure]]:
        """See `Chunk.read`."""
        for name in self.paths:
            path = Path(self.root) / name
            problem = file_problem(path)  # a pipe would block its reader
            if problem:
                yield name, Failure(name, problem)
                continue
            try:
                yield name, path.read_bytes()
            except OSError as error:
                yield name, Failure(name, reason(error))


@dataclass(frozen=True)
class ParquetRows:
    """Rows of one row group of a Parquet file with images in the Hugging Face layout."""

    path: str
    row_group: int
    rows: tuple[int, ...]
    labels: tuple[int, ...]
    column: str = "image"

    def take(self, places: Sequence[int]) -> ParquetRows:
        """See `Chunk.take`."""
        return dataclasses.replace(self, rows=_pick(self.rows, places), labels=_pick(self.labels, places))

    def read(self) -> Iterator[tuple[str, bytes | np.ndarray | Failure]]:
        """See `Chunk.read`; a damaged row group fails every row of it."""
        stem = Path(self.path).name
        names = [f"{stem}: row group {self.row_group}, row {row}" for row in self.rows]
        try:
            with open_parquet(Path(self.path), error=DataError) as file:
                column = file.read_row_group(self.row_group, columns=[self.column]).column(0)
        except DataError as error:
            for name in names:
                yield name, Failure(name, str(error).removeprefix(f"{self.path}: "))
            return
        chosen = column.take(pa.array(self.rows)).combine_chunks()
        blobs, paths = chosen.field("bytes"), _paths(chosen)
        for place, name in enumerate(names):
            if blobs[place].is_valid:
                yield name, blobs[place].as_py()
            elif paths is not None and paths[place].is_valid:
                yield name, _beside(Path(self.path).parent, paths[place].as_py(), name)
            else:
                yield name, Failure(name, "neither bytes nor path")


def _paths(column: pa.StructArray) -> pa.Array | None:
    return column.field("path") if column.type.get_field_index("path") >= 0 else None


def _beside(folder: Path, inner: str, name: str) -> bytes | Failure:
    """Read an image that a row names by its path: one in the folder of the file or below, links followed."""
    try:
        path = (folder / inner).resolve()
        if not path.is_relative_to(folder.resolve()):
            return Failure(name, f"path {inner!r} leads out of the folder of the data set")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        return Failure(name, f"{inner!r}: {getattr(error, 'strerror', None) or error}")


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images in memory: uint8 [n, H, W] or [n, H, W, C]."""

    pixels: np.ndarray
    labels: tuple[int, ...]
    first: int = 0

    def take(self, places: Sequence[int]) -> Pixels:
        """See `Chunk.take`."""
        return Pixels(self.pixels[list(places)], _pick(self.labels, places), self.first)

    def read(self) -> Iterator[tuple[str, bytes | np.ndarray | Failure]]:
        """See `Chunk.read`."""
        for place, image in enumerate(self.pixels):
            yield f"image {self.first + place}", image


def _pick(values: tuple[T, ...], places: Sequence[int]) -> tuple[T, ...]:
    return tuple(values[place] for place in places)


def pixel_chunks(pixels: np.ndarray, labels: Sequence[int]) -> tuple[Pixels, ...]:
    """Cut arrays into chunks."""
    starts = range(0, len(pixels), CHUNK)
    return tuple(
        Pixels(pixels[start : start + CHUNK], tuple(int(label) for label in labels[start : start + CHUNK]), start)
        for start in starts
    )


def file_chunks(root: Path, files: Sequence[tuple[str, int]]) -> tuple[ImageFiles, ...]:
    """Cut (path under root, label) pairs into chunks."""
    parts = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    return tuple(ImageFiles(str(root), tuple(p for p, _ in part), tuple(label for _, label in part)) for part in parts)
