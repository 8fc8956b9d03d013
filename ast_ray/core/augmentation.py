"""Differentiable Siamese augmentation (Zhao & Bilen 2021): draw parameters first, apply them afterwards.

The two are apart so that the backward pass of a student step can replay the very same augmentation. One operation
per call, chosen uniformly; its parameters are drawn per sample, or once for the batch (``siamese``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CROP = 0.125
CUTOUT = 0.5
SCALE = 1.2
ROTATE = 15.0


@dataclass(frozen=True)
class Draw:
    """One augmentation of one batch: the operation and its parameters, each [B]."""

    operation: str
    values: tuple[Tensor, ...] = ()


NO_AUGMENTATION = Draw("none")


def operations(strategy: str) -> tuple[str, ...]:
    """Split a strategy such as ``color_crop_flip``; ``none`` gives no operation."""
    return () if strategy in ("", "none") else tuple(strategy.split("_"))


def draw(
    strategy: tuple[str, ...], batch: int, size: tuple[int, int], generator: torch.Generator, *, siamese: bool = False
) -> Draw:
    """Choose one of the operations and its parameters for ``batch`` images of ``size`` (H, W)."""
    if not strategy:
        return NO_AUGMENTATION
    name = strategy[int(torch.randint(len(strategy), (), generator=generator))]
    count = 1 if siamese else batch
    uniform = [torch.rand(count, generator=generator) for _ in range(_NUMBER_OF_VALUES[name])]
    values = tuple(value.expand(batch) for value in _scale_values(name, uniform, size))
    return Draw(name, values)


def repeated(chosen: Draw, batch: int) -> Draw:
    """Expand a draw for one image to ``batch`` images: the same operation and the same parameters for all.

    Batches of different sizes share a draw so, as real and synthetic images do (Zhao and Bilen 2021).

    Raises:
        ValueError: the draw is for several images.
    """
    if any(len(value) != 1 for value in chosen.values):
        raise ValueError("only a draw for one image can be repeated")
    return Draw(chosen.operation, tuple(value.expand(batch) for value in chosen.values))


_NUMBER_OF_VALUES = {"color": 3, "crop": 2, "cutout": 2, "flip": 1, "scale": 2, "rotate": 1}


def _scale_values(name: str, uniform: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
    if name == "color":
        brightness, saturation, contrast = uniform
        return [brightness - 0.5, saturation * 2, contrast + 0.5]
    if name == "crop":
        reach = [int(side * CROP + 0.5) for side in size]
        return [(u * (2 * r + 1)).floor().clamp(max=2 * r) - r for u, r in zip(uniform, reach, strict=True)]
    if name == "cutout":
        spans = [side + (1 - int(side * CUTOUT + 0.5) % 2) for side in size]
        return [(u * span).floor().clamp(max=span - 1) for u, span in zip(uniform, spans, strict=True)]
    if name == "scale":
        return [u * (SCALE - 1 / SCALE) + 1 / SCALE for u in uniform]
    if name == "rotate":
        return [(uniform[0] - 0.5) * 2 * math.radians(ROTATE)]
    return uniform


def apply(x: Tensor, chosen: Draw) -> Tensor:
    """Augment images [B, C, H, W] with a draw; differentiable in the images."""
    if chosen.operation == "none":
        return x
    values = tuple(value.to(device=x.device, dtype=x.dtype) for value in chosen.values)
    augmented: Tensor = _APPLY[chosen.operation](x, *values)
    return augmented


def pull_back(x: Tensor, chosen: Draw, gradient: Tensor) -> Tensor:
    """From the derivative with respect to the augmented images to that with respect to x, both [B, C, H, W]."""
    if chosen.operation == "none":
        return gradient
    leaf = x.detach().requires_grad_()
    (through,) = torch.autograd.grad(apply(leaf, chosen), leaf, gradient)
    return through


def _color(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    x = x + brightness[:, None, None, None]
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * saturation[:, None, None, None] + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * contrast[:, None, None, None] + mean


def _crop(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    reach = [int(side * CROP + 0.5) for side in (height, width)]
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    rows = torch.arange(height, device=x.device)[None, :] + (down.long() + reach[0])[:, None]
    columns = torch.arange(width, device=x.device)[None, :] + (right.long() + reach[1])[:, None]
    index = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(batch, 1, -1)
    return padded.flatten(2).gather(2, index.expand(-1, channels, -1)).view_as(x)


def _cutout(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    def inside(center: Tensor, side: int) -> Tensor:
        square = int(side * CUTOUT + 0.5)
        offset = torch.arange(side, device=x.device)[None, :] - (center[:, None] - square // 2)
        return (offset >= 0) & (offset < square)

    hole = inside(row, x.shape[2])[:, None, :, None] & inside(column, x.shape[3])[:, None, None, :]
    return x * (~hole).to(x.dtype)


def _flip(x: Tensor, u: Tensor) -> Tensor:
    return torch.where((u < 0.5)[:, None, None, None], x.flip(3), x)


def _sample(x: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix, list(x.shape), align_corners=True)
    if x.is_cuda:
        return sample_by_gathering(x, grid)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def sample_by_gathering(x: Tensor, grid: Tensor) -> Tensor:
    """`F.grid_sample` (bilinear, zeros, corners aligned) of images [B, C, H, W] at grid [B, H', W', 2], by `gather`.

    For GPUs: there the backward pass of ``grid_sample`` adds in any order, so that no two runs give the same bytes.
    """
    batch, channels, height, width = x.shape
    column, row = ((grid + 1) / 2 * grid.new_tensor([width - 1, height - 1])).unbind(-1)
    left, top = column.floor(), row.floor()
    corners = [(down, across) for down in (top, top + 1) for across in (left, left + 1)]
    rows, columns = (torch.stack(side, 1) for side in zip(*corners, strict=True))  # [B, 4, H', W']
    weight = (1 - (row[:, None] - rows).abs()) * (1 - (column[:, None] - columns).abs())
    weight = weight * ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
    index = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
    neighbours = x.flatten(2).gather(2, index.view(batch, 1, -1).expand(-1, channels, -1))
    return (neighbours.view(batch, channels, *index.shape[1:]) * weight[:, None]).sum(2)


def _scale(x: Tensor, across: Tensor, down: Tensor) -> Tensor:
    zero = torch.zeros_like(across)
    rows = [torch.stack([across, zero, zero], 1), torch.stack([zero, down, zero], 1)]
    return _sample(x, torch.stack(rows, 1))


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    zero = torch.zeros_like(angle)
    rows = [torch.stack([angle.cos(), -angle.sin(), zero], 1), torch.stack([angle.sin(), angle.cos(), zero], 1)]
    return _sample(x, torch.stack(rows, 1))


_APPLY: dict[str, Callable[..., Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
