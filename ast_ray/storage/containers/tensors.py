"""Safetensors files: named tensors with text beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ast_ray.config.files import MISSING
from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage import mirror
from ast_ray.storage.containers.opening import parsing, require_file

Shape = tuple[int | None, ...]
"""Sides of a tensor; None stands for any."""


def read_tensors(
    path: Path,
    *,
    hint: str = "",
    missing: str = MISSING,
    told: str = "damaged",
    error: type[AstRayError] = StoreError,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file and the text in its header.

    Raises:
        error: missing, not a regular file, or damaged; says what to do by ``hint``.
    """
    require_file(path, error, missing=missing)
    with parsing(path, error, hint=hint, told=told), safe_open(path, framework="pt") as file:
        text = dict(file.metadata() or {})
        return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118


def require_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[torch.dtype, Shape]],
    *,
    hint: str = "",
    error: type[AstRayError] = StoreError,
) -> None:
    """Check that tensors are there, with their types and shapes.

    Raises:
        error: the first that is missing or another one.
    """
    for name, (kind, shape) in wanted.items():
        problem = _problem(tensors.get(name), kind, shape)
        if problem:
            raise error(f"{mirror.shown(path)}: tensor {name!r} {problem}{f'; {hint}' if hint else ''}")


def _problem(found: Tensor | None, kind: torch.dtype, shape: Shape) -> str:
    if found is None:
        return "is missing"
    same = len(found.shape) == len(shape) and all(
        wanted in (None, side) for side, wanted in zip(found.shape, shape, strict=True)
    )
    if found.dtype == kind and same:
        return ""
    sides = ", ".join("any" if side is None else str(side) for side in shape)
    return f"is {_name(found.dtype)} {list(found.shape)}, expected {_name(kind)} [{sides}]"


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
