"""Decode once: a dataset's uint8 tensors in one safetensors file, memory-mapped afterwards."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ast_ray.data.sources.base import DecodedDataset, Source, checked

_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")
_FORMAT = "1"


def cache_path(root: Path, key: str) -> Path:
    """Where the decoded tensors of a source lie."""
    return root / "decoded" / f"{key.replace('/', '_')[-80:]}-v{_FORMAT}.safetensors"


def decoded(source: Source, root: Path) -> tuple[DecodedDataset, str]:
    """Return a source's dataset and content id, from the cache or by decoding and filling it.

    An unwritable cache is no error: the dataset is then decoded each time.
    """
    path = cache_path(root, source.key)
    found = _read(path)
    if found is not None:
        return found
    dataset = checked(source.name, source.decode())
    identity = dataset.content_id()
    _write(path, dataset, identity)
    return dataset, identity


def _read(path: Path) -> tuple[DecodedDataset, str] | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
    except (SafetensorError, OSError):
        return None
    return DecodedDataset(**tensors, class_names=tuple(json.loads(metadata["class_names"]))), metadata["content_id"]


def _write(path: Path, dataset: DecodedDataset, identity: str) -> None:
    metadata = {"class_names": json.dumps(dataset.class_names), "content_id": identity}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".decoding-")
        os.close(handle)
    except OSError:
        return
    try:
        save_file({name: getattr(dataset, name).contiguous() for name in _TENSORS}, temporary, metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError):
        Path(temporary).unlink(missing_ok=True)
