"""From pixels in [0, 1] to model space: mean/std per channel, or ZCA whitening."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ZCA_EPS = 0.1


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A fitted preprocessing; ``whitening`` is (mean [D], matrix [D, D], inverse [D, D]) for ZCA, else None."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, images: Tensor, *, batch_size: int = 4096) -> Tensor:
        """uint8 [n, C, H, W] -> float32 [n, C, H, W] in model space."""
        return torch.cat([self._batch(part.float() / 255) for part in images.split(batch_size)])

    def _batch(self, pixels: Tensor) -> Tensor:
        if self.whitening is not None:
            mean, matrix, _ = self.whitening
            return ((pixels.flatten(1) - mean) @ matrix).view_as(pixels)
        shape = (1, -1, 1, 1)
        return (pixels - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of uint8 images [n, C, H, W], on the scale [0, 1]; deviation at least 1e-3."""
    count = images.shape[0] * images.shape[2] * images.shape[3]
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for part in images.split(4096):
        values = part.double() / 255
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=1e-3)
    return tuple(mean.tolist()), tuple(std.tolist())


def fit_zca(images: Tensor, *, eps: float = ZCA_EPS) -> tuple[Tensor, Tensor, Tensor]:
    """Fit ZCA on uint8 images [n, C, H, W]: T = U diag((S + eps)^-1/2) U^T of the covariance /(n - 1), and T^-1.

    Flattened CHW, fitted on the whole training split; symmetric, so it acts from either side.
    """
    size = images[0].numel()
    mean = _mean(images)
    covariance = torch.zeros(size, size, dtype=torch.float64)
    for part in images.split(4096):
        centred = part.flatten(1).double() / 255 - mean
        covariance += centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / max(1, len(images) - 1))
    scale = (values.clamp(min=0) + eps).sqrt()
    matrix = (vectors / scale) @ vectors.T
    inverse = (vectors * scale) @ vectors.T
    return mean.float(), matrix.float(), inverse.float()


def _mean(images: Tensor) -> Tensor:
    total = torch.zeros(images[0].numel(), dtype=torch.float64)
    for part in images.split(4096):
        total += part.flatten(1).double().sum(0)
    return total / (255 * len(images))
