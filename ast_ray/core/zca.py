"""ZCA whitening as its decomposition: what acts on images, what undoes it, and what is worth storing.

T = U diag(1/s) U^T with s = (S + eps)^1/2, S and U the eigenvalues and eigenvectors of the pixels' covariance.
T is symmetric and its inverse U diag(s) U^T, so one matrix U and one vector s hold both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fitted ZCA over D = C*H*W values: ``mean`` [D], eigenvectors ``vectors`` [D, D] by column, ``scale`` [D]."""

    mean: Tensor
    vectors: Tensor
    scale: Tensor

    @cached_property
    def matrix(self) -> Tensor:
        """T [D, D]."""
        return (self.vectors / self.scale) @ self.vectors.T

    def apply(self, pixels: Tensor) -> Tensor:
        """Pixels [n, C, H, W] in [0, 1] -> whitened [n, C, H, W]."""
        return ((pixels.flatten(1) - self.mean) @ self.matrix).view_as(pixels)

    def undo(self, whitened: Tensor) -> Tensor:
        """Whitened [n, C, H, W] -> pixels [n, C, H, W]; exact but for rounding."""
        flat = (whitened.flatten(1) @ self.vectors * self.scale) @ self.vectors.T + self.mean
        return flat.view_as(whitened)

    def to(self, device: torch.device | str) -> Whitening:
        """The same on another device; itself where it lies there already."""
        if self.mean.device == torch.device(device):
            return self
        return Whitening(self.mean.to(device), self.vectors.to(device), self.scale.to(device))
