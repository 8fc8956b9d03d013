"""Convolutions and poolings of the networks, written so that vmap and second derivatives are fast."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# From this many weights on, up to this many positions, the product wins at batches of 10 and 100 alike (Xeon, AVX-512).
_LIMITS = ((2**21, 16), (2**19, 4))


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``; on a CPU, layers of many weights on maps of few positions run as one matrix product.

    There the library spends its time reordering the weights: 512 to 512 filters, batch 10, 2x2 positions, forward and
    backward take 11.8 ms as a convolution and 6.2 ms as unfold and product (one core of a Xeon, torch 2.15). Meant for
    ungrouped convolutions that keep the map's size, as every one of these networks is on such maps.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, H', W']."""
        if not self._as_product(input):
            return super().forward(input)
        batch, _, height, width = input.shape
        columns = F.unfold(input, self.kernel_size, padding=self._sides()).transpose(1, 2)  # [B, HW, C*k*k]
        product = F.linear(columns, self.weight.flatten(1), self.bias)
        return product.transpose(1, 2).reshape(batch, self.out_channels, height, width)

    def _sides(self) -> tuple[int, int]:
        return self.kernel_size[0] // 2, self.kernel_size[1] // 2

    def _as_product(self, x: Tensor) -> bool:
        positions, weights = x.shape[2] * x.shape[3], self.weight.numel()
        few = any(weights >= least and positions <= most for least, most in _LIMITS)
        same = self.stride == (1, 1) and self.padding == self._sides()
        return x.device.type == "cpu" and few and same


def quick_on_tiny_maps(network: nn.Module) -> None:
    """Make the ``nn.Conv2d`` layers of a network built elsewhere `Conv2d` layers, in place, with their weights."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Conv2d


Size = tuple[int, int]


class PositionMean(nn.Module):
    """[B, C, H, W] -> [B, C, 1, 1]: the average of all positions, as an operation that can be batched over weights."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.mean((2, 3), keepdim=True)


def late_poolings(size: Size, layers: int, *, last: int) -> list[bool]:
    """Choose the poolings by 2, among ``layers``, that leave at least ``last`` positions a side where that is possible.

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
