"""A folder of Parquet shards in the Hugging Face image layout.

``train-*.parquet`` and ``test-*.parquet`` (or ``validation-*``/``val-*`` as the test split) hold a column ``image``, a
struct of encoded ``bytes`` and ``path``, and an integer column ``label``. Class names come from the schema's metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError

from ast_ray.data.sources.base import DecodedDataset, Source
from ast_ray.errors import DataError

_TEST_PREFIXES = ("test", "validation", "val")


def parquet_folder(folder: Path) -> Source:
    """Open a folder of shards; its content key is the hash of every file's bytes.

    Raises:
        DataError: no training or test shards, or a file that cannot be read.
    """
    train = sorted(folder.glob("train*.parquet"))
    test = next((found for name in _TEST_PREFIXES if (found := sorted(folder.glob(f"{name}*.parquet")))), [])
    if not train or not test:
        missing = "train-*.parquet" if not train else "test-*.parquet"
        held = sorted(path.name for path in folder.iterdir())[:5]
        raise DataError(f"{folder}: no {missing} in this folder (it holds {', '.join(held) or 'nothing'})")
    digest = hashlib.sha256()
    for path in (*train, *test):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())

    def decode() -> DecodedDataset:
        train_images, train_labels, names = _read_split(train)
        test_images, test_labels, _ = _read_split(test)
        if not names:
            names = tuple(str(label) for label in range(max(train_labels) + 1))
        return DecodedDataset(
            torch.from_numpy(train_images),
            torch.tensor(train_labels),
            torch.from_numpy(test_images),
            torch.tensor(test_labels),
            names,
        )

    return Source(str(folder), digest.hexdigest()[:16], decode)


def _read_split(paths: Sequence[Path]) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    for path in paths:
        table = _read_table(path)
        names = names or _class_names(table.schema)
        values = table.column("label").to_pylist()
        if None in values:
            raise DataError(f"{path.name}: row {values.index(None)} has no label")
        labels += values
        pixels = _decode_all(path, table.column("image"), shape)
        shape = pixels.shape[1:] if len(pixels) else shape
        images.append(pixels)
    if not labels:
        raise DataError(f"{paths[0].parent}: {paths[0].name} and its split hold no rows")
    return np.concatenate([part for part in images if len(part)]), labels, names


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a complete Parquet file ({str(error).splitlines()[0]})") from error
    missing = [name for name in ("image", "label") if name not in table.column_names]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r} (columns: {', '.join(table.column_names)})")
    image = table.schema.field("image").type
    if not (pa.types.is_struct(image) and image.get_field_index("bytes") >= 0):
        raise DataError(f"{path}: column 'image' is {image}, expected struct<bytes: binary, path: string>")
    if not pa.types.is_integer(table.schema.field("label").type):
        raise DataError(f"{path}: column 'label' is {table.schema.field('label').type}, expected integers")
    return table


def _class_names(schema: pa.Schema) -> tuple[str, ...]:
    metadata = schema.metadata or {}
    if b"class_names" in metadata:
        return tuple(json.loads(metadata[b"class_names"]))
    if b"huggingface" in metadata:
        features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features", {})
        return tuple(features.get("label", {}).get("names", ()))
    return ()


def _decode_all(path: Path, column: pa.ChunkedArray, shape: tuple[int, ...] | None) -> np.ndarray:
    blobs = [item for chunk in column.chunks for item in chunk.field("bytes")]

    def decode(index: int) -> np.ndarray:
        blob = blobs[index]
        try:
            with Image.open(io.BytesIO(blob.as_buffer())) as image:
                grey = image.mode in ("L", "1", "I;16")
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
        except (UnidentifiedImageError, OSError, ValueError, TypeError) as error:
            raise DataError(f"{path}: image {index} cannot be decoded ({error})") from error
        return pixels[None] if grey else pixels.transpose(2, 0, 1)

    if not blobs:
        return np.empty((0,), np.uint8)
    shape = shape or decode(0).shape
    out = np.empty((len(blobs), *shape), np.uint8)

    def fill(index: int) -> None:
        pixels = decode(index)
        if pixels.shape != shape:
            raise DataError(f"{path}: image {index} is {pixels.shape} (C, H, W), the images before it are {shape}")
        out[index] = pixels

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(blobs)), chunksize=64):
            pass
    return out
