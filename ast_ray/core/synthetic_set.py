"""The result: a handful of images with everything needed to use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ast_ray.core.zca import Whitening
from ast_ray.errors import DataError

TargetLoss = Literal["ce", "mse"]
_SUM_TOLERANCE = 1e-3  # probabilities of half precision add up to 1 to this


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """Distilled images with labels, learning rate and preprocessing; a map-style torch dataset.

    Attributes:
        images: float32 [S, C, H, W] in model space (already normalised).
        labels: int64 [S], the class of each image. Of a set whose targets were learned, the class an image began with.
        student_lr: the learned step size alpha, the learning rate to train with.
        class_names: K names.
        augmentation: DSA operations to train with (``augmentation.draw`` and ``apply``).
        siamese: whether a draw is shared over the batch.
        mean, std: per channel; pixel = image * std + mean, in [0, 1]. Unused with ``whitening``.
        whitening: fitted ZCA, or None; it whitens pixels and undoes it.
        provenance: where it came from: config, fingerprints, iteration, versions.
        targets: float [S, K], the soft labels that networks are trained on; None for hard labels alone.
        target_loss: how they are trained on: ``ce``, cross-entropy with ``targets`` as probabilities (assigned by a
            trained network, as in TESLA); ``mse``, the mean of 1/2 ||output - target||^2 (learned, as in FRePo).

    Raises:
        DataError: targets of another shape, not finite, or under ``ce`` no probabilities.
    """

    images: Tensor
    labels: Tensor
    student_lr: float
    class_names: tuple[str, ...]
    augmentation: str = "none"
    siamese: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    whitening: Whitening | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    targets: Tensor | None = None
    target_loss: TargetLoss = "ce"

    def __post_init__(self) -> None:
        """Refuse targets that do not fit the set."""
        if self.targets is not None:
            problem = unfit_targets(self.targets, self.target_loss, len(self.images), len(self.class_names))
            if problem:
                raise DataError(problem)

    def __len__(self) -> int:
        """S."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image [C, H, W] in model space and its label; its soft label, if there is one, is in ``targets``."""
        return self.images[index], int(self.labels[index])

    @property
    def ipc(self) -> int:
        """Images per class."""
        return len(self) // len(self.class_names)

    def pixels(self) -> Tensor:
        """Displayable images [S, C, H, W], clipped to [0, 1]."""
        if self.whitening is not None:
            return self.whitening.undo(self.images).clamp(0, 1)
        shape = (1, -1, 1, 1)
        return (self.images * torch.tensor(self.std).view(shape) + torch.tensor(self.mean).view(shape)).clamp(0, 1)

    def to_model_space(self, pixels: Tensor) -> Tensor:
        """Prepare real images [n, C, H, W] in [0, 1] the way the synthetic ones are."""
        if self.whitening is not None:
            return self.whitening.apply(pixels)
        shape = (1, -1, 1, 1)
        return (pixels - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)


def unfit_targets(targets: Tensor, loss: str, images: int, classes: int) -> str:
    """Say why targets cannot be the soft labels of ``images`` images in ``classes`` classes; empty where they can."""
    if loss not in ("ce", "mse"):
        return f"target_loss is {loss!r}, expected 'ce' or 'mse'"
    if tuple(targets.shape) != (images, classes):
        return f"targets are {list(targets.shape)}, expected {[images, classes]}"
    if not targets.is_floating_point():
        return f"targets are {targets.dtype}, expected floats"
    if not torch.isfinite(targets).all():
        return "targets hold numbers that are not finite"
    if loss == "ce" and not probabilities(targets):
        return "targets are no probabilities: cross-entropy needs rows of numbers from 0 on that add up to 1"
    return ""


def probabilities(rows: Tensor) -> bool:
    """Return whether every row of [S, K] is a distribution, up to the rounding of half precision."""
    sums = rows.double().sum(1)
    return bool((rows >= 0).all()) and bool(((sums - 1).abs() <= _SUM_TOLERANCE).all())


def hard_labels(labels: Tensor, targets: Tensor | None, loss: TargetLoss) -> Tensor:
    """Classes int64 [S] of images with ``labels`` int64 [S]: the largest entry where targets [S, K] were learned.

    An image under ``mse`` may have left the class it began with; one under ``ce`` keeps its label.
    """
    return targets.argmax(1) if targets is not None and loss == "mse" else labels
