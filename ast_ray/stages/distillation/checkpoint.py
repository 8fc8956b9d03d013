"""A distillation's checkpoint, checked before a state is made of it."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

import torch
from torch import Tensor

from ast_ray.core.methods.base import IMAGES, State
from ast_ray.storage.checkpoint import Checkpoint
from ast_ray.storage.typed import Bounds, Count, Share


class _Best(TypedDict):
    """The best set so far, without its images."""

    student_lr: float
    accuracy: Share
    iteration: Count


class _Coverage(TypedDict):
    """The outcome of the probe; losses may be infinite."""

    student_lr: float
    loss: float
    suggested_lr: float
    best_loss: float
    distance: float
    perturbed: float


class _Values(TypedDict):
    """The plain values; counts that earlier versions did not keep may be missing."""

    iteration: Count
    last_start_epoch: NotRequired[Annotated[int, Bounds(-1, 2**31)]]
    recent: list[float]
    best: _Best | None
    coverage: NotRequired[_Coverage | None]
    updates: NotRequired[Count]
    skipped: NotRequired[Count]
    skipped_in_a_row: NotRequired[Count]


_LATER = ("image_scale", "lr_scale")  # tensors that earlier versions did not keep


def state_of(found: Checkpoint, start: State) -> State:
    """Return the state that a checkpoint holds, on the device of ``start``, the state before the first iteration.

    Raises:
        StoreError: something is missing or of another kind or shape, by name.
    """
    images = start.images
    wanted = {
        name: (tensor.dtype, tuple(tensor.shape))
        for name, tensor in start.tensors.items()
        if name in found.tensors or name not in _LATER
    }
    if found.values.get("best") is not None:
        published = [name.removeprefix(BEST) for name in found.tensors if name.startswith(BEST)]
        for name in {IMAGES, *published} & start.tensors.keys():
            wanted[f"{BEST}{name}"] = (start.tensors[name].dtype, tuple(start.tensors[name].shape))
    found.require(wanted, _Values)
    return State.from_saved(found.tensors, found.values, start).on(images.device)


BEST = "best_"
"""Beginning of the names of the best set's tensors."""


def best_of(found: Checkpoint, device: torch.device) -> dict[str, Tensor]:
    """Return the tensors of the best set so far by name."""
    return {
        name.removeprefix(BEST): tensor.to(device) for name, tensor in found.tensors.items() if name.startswith(BEST)
    }
