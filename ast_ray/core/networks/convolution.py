"""A convolution that is also quick on the last, tiny feature maps of deep networks."""

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
