"""Writes decoded images to a safetensors file as they come, so that a dataset never has to fit in memory.

The number of images is known at the end only (unreadable ones may be left out): the header's room is kept free in
front and filled in last. Layout: train_images, test_images, padding, train_labels, test_labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ast_ray.data.cache import read_unverified
from ast_ray.data.decode import Target

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
