"""Checksums of tensors and the text that goes with them: safetensors, unlike Parquet, has none of its own.

What was written before there were any is read without. A checksum tells damage from content; it is no signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ast_ray.storage.containers.documents import canonical

KEY = "sha256"


def digest(tensors: Mapping[str, Tensor], text: Mapping[str, Any]) -> str:
    """SHA-256 of tensors (names, types, shapes, values) and of plain values, the checksum among them left out."""
    found = hashlib.sha256(canonical({name: value for name, value in text.items() if name != KEY}).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def sealed(tensors: Mapping[str, Tensor], text: Mapping[str, Any]) -> dict[str, Any]:
    """The text with the checksum of both in it."""
    return {**text, KEY: digest(tensors, text)}


def intact(tensors: Mapping[str, Tensor], text: Mapping[str, Any]) -> bool:
    """Return whether tensors and text are those that were sealed; what carries no checksum counts as intact."""
    return KEY not in text or text[KEY] == digest(tensors, text)
