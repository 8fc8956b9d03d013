"""A 3x3 convolution and its two derivatives on channels-last tensors [B, H, W, C], called by the library directly.

Kernels are [F, C, 3, 3] in channels-last memory. Inputs may be bfloat16: the sums inside are float32, what comes out is
rounded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STEP = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)  # stride, padding, dilation, transposed, output padding, groups


def conv(a: Tensor, kernel: Tensor) -> Tensor:
    """Z [B, H, W, F] of a [B, H, W, C]."""
    return F.conv2d(a.permute(0, 3, 1, 2), kernel, padding=1).permute(0, 2, 3, 1)


def conv_input(dz: Tensor, a: Tensor, kernel: Tensor) -> Tensor:
    """The gradient of a [B, H, W, C] from dz [B, H, W, F]."""
    return _backward(dz, a, kernel, [True, False, False])[0].permute(0, 2, 3, 1)


def conv_weight(dz: Tensor, a: Tensor, kernel: Tensor) -> Tensor:
    """The gradient of the kernel from dz [B, H, W, F]."""
    return _backward(dz, a, kernel, [False, True, False])[1]


def through_inputs(pairs: list[tuple[Tensor, Tensor]], a: Tensor) -> Tensor:
    """The sum of `conv_input` over pairs of dz and kernel; few channels go as matrix products, faster on a CPU."""
    filters, channels = pairs[0][0].shape[3], a.shape[3]
    if a.device.type != "cpu" or 4 * channels > filters:
        found = conv_input(pairs[0][0], a, pairs[0][1])
        for dz, kernel in pairs[1:]:
            found = found + conv_input(dz, a, kernel)
        return found
    batch, height, width, _ = a.shape
    dz, kernel = pairs[-1]
    columns = dz.reshape(-1, filters) @ kernel.flatten(1)  # [B*H*W, C*9]
    for dz, kernel in pairs[-2::-1]:
        columns = torch.addmm(columns, dz.reshape(-1, filters), kernel.flatten(1))
    columns = columns.view(batch, height * width, -1).transpose(1, 2)
    return F.fold(columns, (height, width), 3, padding=1).permute(0, 2, 3, 1)


def _backward(dz: Tensor, a: Tensor, kernel: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    first, second = dz.permute(0, 3, 1, 2), a.permute(0, 3, 1, 2)
    return torch.ops.aten.convolution_backward(first, second, kernel, None, *_STEP, wanted)  # type: ignore[no-any-return]
