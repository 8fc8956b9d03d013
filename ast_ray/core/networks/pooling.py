"""Poolings that leave what the layers after them need, whatever the image size."""

from __future__ import annotations

from torch import nn

Size = tuple[int, int]


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
    return (nn.Identity() if wanted == size else nn.AdaptiveAvgPool2d(wanted)), wanted
