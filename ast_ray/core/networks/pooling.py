"""Poolings that leave what the layers after them need, whatever the image size."""

from __future__ import annotations

from torch import Tensor, nn

Size = tuple[int, int]


class PositionMean(nn.Module):
    """[B, C, H, W] -> [B, C, 1, 1]: the average of all positions, as an operation that can be batched over weights."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.mean((2, 3), keepdim=True)


def late_poolings(size: Size, layers: int, *, last: int) -> list[bool]:
    """Which of ``layers`` poolings by 2 an image gets to leave at least ``last`` positions a side, if it can.

    Small images skip the early ones: late layers then see as many positions as at the published size. Early poolings
    would leave instance norm 2x2 positions or a single one, over which hardly anything of the image survives.
    """
    count = 0
    while count < layers and min(size) >> (count + 1) >= 1 and min(size) >> count > last:
        count += 1
    return [number >= layers - count for number in range(layers)]


def halve(size: Size) -> Size:
    """Size after a pooling by 2."""
    return size[0] // 2, size[1] // 2


def at_most(size: Size, largest: int) -> tuple[nn.Module, Size]:
    """Average the positions down to at most ``largest`` per side; nothing to do for images of the published size.

    A plain Identity where it fits: adaptive pooling's backward pass is not deterministic on a GPU.
    """
    wanted = (min(size[0], largest), min(size[1], largest))
    if wanted == size:
        return nn.Identity(), wanted
    return (PositionMean() if wanted == (1, 1) else nn.AdaptiveAvgPool2d(wanted)), wanted
