"""A distillation's checkpoint, checked before a state is made of it."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from torch import Tensor

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
    last_start_epoch: Annotated[int, Bounds(-1, 2**31)]
    recent: list[float]
    best: _Best | None
    coverage: NotRequired[_Coverage | None]
    updates: NotRequired[Count]
    skipped: NotRequired[Count]
    skipped_in_a_row: NotRequired[Count]


def require_whole(found: Checkpoint, images: Tensor) -> None:
    """Check that a checkpoint holds the state of a distillation of ``images`` [S, C, H, W].

    Raises:
        StoreError: something is missing or of another kind or shape, by name.
    """
    pixels, number = (images.dtype, tuple(images.shape)), (images.dtype, ())
    wanted = {"images": pixels, "image_velocity": pixels, "student_lr": number, "lr_velocity": number}
    if "image_scale" in found.tensors:
        wanted["image_scale"] = number
    if found.values.get("best") is not None:
        wanted["best_images"] = pixels
    found.require(wanted, _Values)
