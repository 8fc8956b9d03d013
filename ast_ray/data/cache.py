"""Decode once: a dataset's uint8 tensors in one safetensors file, memory-mapped afterwards.

A file is named by what it holds: the source's content and everything that decides how its images are decoded. The
content id in its header is the checksum of pixels, labels and class names.

Images are written as they come, so that a dataset never has to fit in memory. Their number is known at the end only
(unreadable ones may be left out): the header's room is kept free in front and filled in last. Layout: train_images,
test_images, padding, train_labels, test_labels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ast_ray.config.settings import DataConfig
from ast_ray.data.decode import Target
from ast_ray.data.sources.base import DecodedDataset, Source

TENSORS = ("train_images", "train_labels", "test_images", "test_labels")
FORMAT = "3"  # changes with what decoding makes of an image, or listing of a source
_STALE_SECONDS = 3600
_OWN = re.compile(r".+-[0-9a-f]{16}(-zca)?\.safetensors")
_LOG = logging.getLogger(__name__)
_verified: set[tuple[int, ...]] = set()


@dataclass(frozen=True)
class CachedFile:
    """One file of the cache, as ``ast-ray data list`` shows it; ``kind`` is images or whitening."""

    path: Path
    kind: str
    source: str
    content_id: str
    images: int
    shape: tuple[int, ...]
    size_bytes: int
    modified: float


def cache_folder(config: DataConfig) -> Path:
    """Return the folder of decoded images."""
    return Path(config.root).expanduser() / "decoded"


def cache_path(source: Source, config: DataConfig) -> Path:
    """Return the file of a source's decoded tensors under these settings."""
    choices = [FORMAT, source.key, source.image_size, config.image_size, config.resize, config.channels]
    choices += [config.skip_corrupt, config.test_fraction]
    digest = hashlib.sha256(json.dumps(choices).encode()).hexdigest()[:16]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(source.name).stem).strip("-")[:40]
    return cache_folder(config) / f"{slug or 'images'}-{digest}.safetensors"


def read_cached(path: Path) -> tuple[DecodedDataset, str] | None:
    """Return dataset and content id, mapped from the file; None when it is absent, not a whole file, or damaged.

    A process verifies the content of a file once, and again when the file has changed.
    """
    found = read_unverified(path)
    if found is None:
        return None
    stat = path.stat()
    signature = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    if signature not in _verified:
        if found[0].content_id() != found[1]:
            _LOG.warning("%s: the decoded images are damaged (their checksum is wrong); decoding them again", path)
            return None
        _verified.add(signature)
    return found


def read_unverified(path: Path) -> tuple[DecodedDataset, str] | None:
    """`read_cached` without looking at the content."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in TENSORS}
        facts = json.loads(metadata["facts"])
        dataset = DecodedDataset(
            **tensors,
            class_names=tuple(map(str, facts["class_names"])),
            notes=tuple(facts["notes"]),
            warnings=tuple(facts["warnings"]),
        )
        identity = str(metadata["content_id"])
    except (SafetensorError, OSError, LookupError, TypeError, ValueError):
        return None
    kinds = {name: torch.uint8 if name.endswith("images") else torch.int64 for name in TENSORS}
    return (dataset, identity) if {name: item.dtype for name, item in tensors.items()} == kinds else None


def list_cache(config: DataConfig) -> list[CachedFile]:
    """Everything in the cache, newest first; unreadable files are shown with an empty source.

    Files that go by other names than `cache_path` gives were not written here, and are nobody's to list or to clear.
    """
    names = cache_folder(config).glob("*.safetensors")
    found = [_describe(path) for path in names if _OWN.fullmatch(path.name) and path.is_file()]
    return sorted(found, key=lambda item: item.modified, reverse=True)


def _describe(path: Path) -> CachedFile:
    stat = path.stat()
    kind = "whitening" if path.stem.endswith("-zca") else "images"
    source = ""
    identity = ""
    images = 0
    shape = ()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            identity = metadata.get("content_id", "")
            if kind == "images":
                source = json.loads(metadata["facts"])["source"]
                counts = [file.get_slice(name).get_shape() for name in ("train_images", "test_images")]
                images, shape = sum(count[0] for count in counts), tuple(counts[0][1:])
    except (SafetensorError, OSError, KeyError, ValueError):
        kind = "unreadable"
    return CachedFile(path, kind, source, identity, images, shape, stat.st_size, stat.st_mtime)


def clear_cache(config: DataConfig, names: tuple[str, ...] = ()) -> list[CachedFile]:
    """Delete the files whose name, source or content id is among ``names`` (none given: all); return them.

    Left-overs of interrupted decoding go with them once they are an hour old.
    """
    for partial in cache_folder(config).glob(".partial-*"):
        if time.time() - partial.stat().st_mtime > _STALE_SECONDS:
            partial.unlink(missing_ok=True)
    chosen = [item for item in list_cache(config) if not names or _matches(item, names)]
    for item in chosen:
        item.path.unlink(missing_ok=True)
    return chosen


def _matches(item: CachedFile, names: tuple[str, ...]) -> bool:
    return bool({item.path.name, item.path.stem, item.source, item.content_id} & set(names))


_ROOM = 16384


class CacheWriter:
    """An open file of decoded images: append the training split, then the test split, then `finish`."""

    def __init__(self, path: Path, target: Target, facts: dict[str, Any]) -> None:
        self._path, self._facts = path, facts
        self._shape = (target.channels, target.height, target.width)
        self._header = -(-(len(json.dumps(facts)) * 2 + _ROOM) // 8) * 8
        self._labels: dict[str, list[int]] = {"train": [], "test": []}
        self._file = path.open("wb")
        self._file.write(b"\0" * (8 + self._header))

    def append(self, split: str, pixels: np.ndarray, labels: Sequence[int]) -> None:
        """Add images uint8 [m, C, H, W] with labels to ``train`` or ``test``."""
        self._file.write(np.ascontiguousarray(pixels).data)
        self._labels[split] += labels

    def finish(self, notes: Sequence[str], warnings: Sequence[str]) -> str:
        """Write labels and header, and return the content id."""
        counts = {split: len(labels) for split, labels in self._labels.items()}
        size = int(np.prod(self._shape))
        padding = -(sum(counts.values()) * size) % 8
        self._file.write(b"\0" * padding)
        for split in ("train", "test"):
            self._file.write(np.asarray(self._labels[split], "<i8").tobytes())
        parts: list[tuple[str, str, list[int], int]] = [
            (f"{split}_images", "U8", [counts[split], *self._shape], counts[split] * size)
            for split in ("train", "test")
        ]
        parts += [("padding", "U8", [padding], padding)] if padding else []
        parts += [(f"{split}_labels", "I64", [counts[split]], 8 * counts[split]) for split in ("train", "test")]
        entries, at = {}, 0
        for name, kind, shape, length in parts:
            entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + length]}
            at += length
        facts = json.dumps({**self._facts, "notes": list(notes), "warnings": list(warnings)})
        self._write_header({"__metadata__": {"facts": facts, "content_id": "0" * 16}, **entries})
        found = read_unverified(self._path)
        assert found is not None, "the file just written cannot be read"
        identity = found[0].content_id()
        self._write_header({"__metadata__": {"facts": facts, "content_id": identity}, **entries})
        return identity

    def _write_header(self, header: dict[str, Any]) -> None:
        text = json.dumps(header).encode()
        if len(text) > self._header:
            raise ValueError(f"header of {len(text)} bytes does not fit in {self._header}")
        self._file.seek(0)
        self._file.write(self._header.to_bytes(8, "little") + text.ljust(self._header))
        self._file.flush()

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
