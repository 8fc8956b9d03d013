"""Files of ``torch.save``: tensors and plain values only, nothing in them is run."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage.containers.opening import FOREIGN, parsing, require_file


def read_pt(path: Path, *, error: type[AstRayError] = StoreError) -> object:
    """Return what a file holds, on the CPU.

    Raises:
        error: missing, damaged, not such a file, or holding more than tensors and plain values.
    """
    require_file(path, error)
    with parsing(path, error, told=FOREIGN), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the format's dialects; what cannot be read is refused
        found: object = torch.load(path, map_location="cpu", weights_only=True)
        return found
