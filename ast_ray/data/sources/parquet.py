"""Parquet shards in the Hugging Face image layout: a folder of them, its ``data/`` folder, or one file.

``train*.parquet`` and ``test*.parquet`` (or ``validation*``, ``val*``) are the splits; without those names every shard
is training data. A column ``image`` (or ``img``) is a struct of encoded ``bytes`` and ``path``, a column ``label`` (or
``fine_label``) holds integers or names. Class names come from the schema's metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from ast_ray.data.sources.base import Listing, Source, numbered
from ast_ray.data.sources.chunks import CHUNK, Failure, ParquetRows
from ast_ray.data.sources.files import content_key
from ast_ray.errors import DataError
from ast_ray.storage.containers.documents import parsed
from ast_ray.storage.containers.parquet_files import open_parquet
from ast_ray.storage.typed import checked


class _Info(TypedDict, total=False):
    features: dict[str, Any]


class _HuggingFace(TypedDict, total=False):
    """The part of the schema's metadata that may name the classes."""

    info: _Info


_TEST_PREFIXES = ("test", "validation", "val")
_IMAGE, _LABEL = ("image", "img"), ("label", "fine_label")


def parquet_source(path: Path) -> Source:
    """Open a folder of shards or a single file.

    Raises:
        DataError: test shards without training shards, or (when listed) a file that cannot be read.
    """
    folder, files = _shards(path)
    train = [file for file in files if file.name.startswith("train")]
    test = next((found for name in _TEST_PREFIXES if (found := [f for f in files if f.name.startswith(name)])), [])
    if test and not train:
        held = ", ".join(file.name for file in files[:5])
        raise DataError(f"{path}: no train*.parquet beside {test[0].name} (it holds {held})")
    train = train or files

    def listing() -> Listing:
        shards = {file: _open(file) for file in (*train, *test)}
        names = next((shard.class_names for shard in shards.values() if shard.class_names), ())
        values = {label for shard in shards.values() for group in shard.groups for label in group}
        values.discard(None)
        texts = sorted(value for value in values if isinstance(value, str))
        if texts and len(texts) < len(values):
            raise DataError(f"{path}: labels are numbers in some shards and names in others")
        numbers = {text: number for number, text in enumerate(names or texts)} if texts else {}
        if not names:
            rows = [label for shard in shards.values() for group in shard.groups for label in group]
            names = tuple(texts) or numbered(str(path), [int(label) for label in rows if label is not None])
        failures = [failure for shard in shards.values() for failure in shard.failures(numbers)]
        chunks = [tuple(chunk for file in split for chunk in shards[file].chunks(numbers)) for split in (train, test)]
        return Listing(chunks[0], chunks[1], names, tuple(failures))

    return Source(str(path), content_key([*train, *test], folder), listing)


def _shards(path: Path) -> tuple[Path, list[Path]]:
    if path.is_file():
        return path.parent, [path]
    folder = path if any(path.glob("*.parquet")) else path / "data"
    return folder, sorted(folder.glob("*.parquet"))


@dataclass(frozen=True)
class _Shard:
    """One open file: its columns, its labels by row group, and its class names if it has them."""

    path: Path
    column: str
    groups: tuple[tuple[int | str | None, ...], ...]
    class_names: tuple[str, ...]

    def _number(self, label: int | str | None, numbers: dict[str, int]) -> int | None:
        return numbers.get(label) if isinstance(label, str) else label

    def failures(self, numbers: dict[str, int]) -> list[Failure]:
        """Rows without a usable label."""
        return [
            Failure(f"{self.path.name}: row group {group}, row {row}", f"label {label!r}")
            for group, labels in enumerate(self.groups)
            for row, label in enumerate(labels)
            if self._number(label, numbers) is None
        ]

    def chunks(self, numbers: dict[str, int]) -> list[ParquetRows]:
        """The rows with a label, a few hundred at a time."""
        found = []
        for group, labels in enumerate(self.groups):
            usable = [
                (row, number)
                for row, label in enumerate(labels)
                if (number := self._number(label, numbers)) is not None
            ]
            for start in range(0, len(usable), CHUNK):
                rows, chosen = zip(*usable[start : start + CHUNK], strict=True)
                found.append(ParquetRows(str(self.path), group, rows, chosen, self.column))
        return found


def _open(path: Path) -> _Shard:
    with open_parquet(path, error=DataError) as file:
        schema = file.schema_arrow
        image, label = _columns(path, schema)
        groups = [file.read_row_group(group, columns=[label]) for group in range(file.num_row_groups)]
        named = _class_names(schema, label)
    labels = tuple(tuple(group.column(0).to_pylist()) for group in groups)
    if not any(labels):
        raise DataError(f"{path}: holds no rows")
    return _Shard(path, image, labels, named)


def _columns(path: Path, schema: pa.Schema) -> tuple[str, str]:
    """Names of the image and the label column, checked for their types."""
    found = []
    for kind, names in (("image", _IMAGE), ("label", _LABEL)):
        name = next((name for name in names if name in schema.names), None)
        if name is None:
            raise DataError(f"{path}: no column {kind!r} (columns: {', '.join(schema.names)})")
        found.append(name)
    image, label = (schema.field(name).type for name in found)
    if not (pa.types.is_struct(image) and image.get_field_index("bytes") >= 0):
        raise DataError(f"{path}: column {found[0]!r} is {image}, expected struct<bytes: binary, path: string>")
    if not (pa.types.is_integer(label) or pa.types.is_string(label) or pa.types.is_large_string(label)):
        raise DataError(f"{path}: column {found[1]!r} is {label}, expected integers or names")
    return found[0], found[1]


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    metadata = schema.metadata or {}
    if b"class_names" in metadata:
        return tuple(checked(parsed(metadata[b"class_names"]), list[str], "class_names"))
    if b"huggingface" not in metadata:
        return ()
    features = checked(parsed(metadata[b"huggingface"]), _HuggingFace).get("info", {}).get("features", {})
    feature = features.get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(checked(names, list[str], f"features.{label}.names")) if names else ()
