"""Real images as the method sees them: a tensor, or something that makes one batch of it at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor


class Images(Protocol):
    """Images [n, C, H, W] in model space. A `Tensor` is one; `data.placement.StreamedImages` is another."""

    @property
    def shape(self) -> torch.Size:
        """(n, C, H, W)."""

    @property
    def device(self) -> torch.device:
        """The device of the batches."""

    @property
    def dtype(self) -> torch.dtype:
        """Of batches."""

    def __len__(self) -> int:
        """Number of images n."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Images [B, C, H, W] at rows [B]."""

    def split(self, size: int, /) -> Iterable[Tensor]:
        """All images in order, ``size`` at a time."""
