"""Poolings that leave what the layers after them need, whatever the image size."""

from __future__ import annotations

from torch import nn

Size = tuple[int, int]


def halve(size: Size, *, keep: int) -> tuple[Size, bool]:
    """Size after a pooling by 2, and whether there is one: it is skipped where a side would fall below ``keep``.

    Instance norm needs ``keep`` = 2: over a single position it returns its bias and the network is blind.
    """
    smaller = (size[0] // 2, size[1] // 2)
    return (smaller, True) if min(smaller) >= keep else (size, False)


def at_most(size: Size, largest: int) -> tuple[nn.Module, Size]:
    """Average the positions down to at most ``largest`` per side; nothing to do for images of the published size.

    A plain Identity where it fits: adaptive pooling's backward pass is not deterministic on a GPU.
    """
    wanted = (min(size[0], largest), min(size[1], largest))
    return (nn.Identity() if wanted == size else nn.AdaptiveAvgPool2d(wanted)), wanted
