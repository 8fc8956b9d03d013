"""The gradient penalty of a ConvNet written out (Eq. 19): the derivative along theta of sum_i phi(grad_x S(x_i)).

With s_i = grad_x S(x_i) and v_i = phi'(s_i) held fixed, that derivative is the one of <s, v>, which is the tangent of
S's gradient along theta when the images move in the direction v: 6 convolutions per layer in all. S is a weighted sum
of the logits, so the head's own gradient does not move.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ast_ray.core.engines.convnet import block as blocks_of
from ast_ray.core.engines.convnet.block import Block, Tangent, total
from ast_ray.core.engines.convnet.conv import conv, conv_input, conv_weight, through_inputs
from ast_ray.core.engines.convnet.kernels import Kernels
from ast_ray.core.engines.convnet.step import Parts, Weights, flat, forward, unflat


def penalty_gradient(
    passes: Kernels, weights: Weights, x: Tensor, d_logits: Tensor, direction: Callable[[Tensor], Tensor]
) -> Parts:
    """Differentiate sum_i phi(s_i) along the weights.

    Args:
        x: images [B, H, W, C]; d_logits: S's gradient along the logits [B, K]; direction: from s [B, H, W, C] to
            v = phi'(s) of the same shape.
    """
    blocks, gradients, s = _slope(passes, weights, x, d_logits)
    at = direction(s).to(x.dtype)
    tangents: list[Tangent] = []
    for block, kernel, gamma in zip(blocks, weights.kernels, weights.gammas, strict=True):
        still = torch.zeros_like(gamma)
        moved, at = blocks_of.tangent(passes, block, at, conv(at, kernel), still, still)
        tangents.append(moved)
    parts = Parts.of(weights, d_logits.T @ flat(at, d_logits.dtype), torch.zeros_like(weights.offset))
    dat = torch.zeros_like(at)
    for index in range(len(blocks) - 1, -1, -1):
        block = blocks[index]
        moved = tangents.pop()
        dz = gradients.pop()
        kernel = weights.kernels[index]
        dzt, d_gamma_t, d_beta_t = blocks_of.dzt(passes, block, moved, torch.zeros_like(weights.gammas[index]), dat)
        a, z = block.forward.a, block.forward.z
        assert moved.at is not None
        parts.kernels[index] = conv_weight(dzt, a, kernel) + conv_weight(dz, moved.at, kernel)
        parts.gammas[index], parts.betas[index] = total(d_gamma_t, z), total(d_beta_t, z)
        if index:
            dat = conv_input(dzt, a, kernel)
    return parts


def _slope(passes: Kernels, weights: Weights, x: Tensor, d_logits: Tensor) -> tuple[list[Block], list[Tensor], Tensor]:
    """Return what every block saves, its dz, and s [B, H, W, C]."""
    computed, a = forward(passes, weights, x)
    da = unflat(d_logits @ weights.linear, None, a)
    blocks = list[Block]()
    gradients = list[Tensor]()
    for of, kernel in zip(reversed(computed), reversed(weights.kernels), strict=True):
        block, dz = blocks_of.backward(passes, of, da)
        blocks.insert(0, block)
        gradients.insert(0, dz)
        da = through_inputs([(dz, kernel)], of.a)
    return blocks, gradients, da
