"""The result: a handful of images with everything needed to use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ast_ray.core.zca import Whitening


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """Distilled images with labels, learning rate and preprocessing; a map-style torch dataset.

    Attributes:
        images: float32 [S, C, H, W] in model space (already normalised).
        labels: int64 [S].
        student_lr: the learned step size alpha, the learning rate to train with.
        class_names: K names.
        augmentation: DSA operations to train with (``augmentation.draw`` and ``apply``).
        siamese: whether a draw is shared over the batch.
        mean, std: per channel; pixel = image * std + mean, in [0, 1]. Unused with ``whitening``.
        whitening: fitted ZCA, or None; it whitens pixels and undoes it.
        provenance: where it came from: config, fingerprints, iteration, versions.
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

    def __len__(self) -> int:
        """S."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image [C, H, W] in model space and its label."""
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
