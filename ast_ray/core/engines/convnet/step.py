"""One student step of a ConvNet written out: its gradient, and the derivative of that gradient.

Autograd's double backward of normalisation and convolution is many passes over memory. Here the tangent of the gradient
in the direction w is computed layer by layer, which is the derivative of <g, w> because second derivatives commute:
3 convolutions per layer for the gradient and 6 for its derivative, with memory channels last throughout. A
convolution's bias is left out: instance norm subtracts it, so its gradient is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.core.engines.convnet import block as blocks_of
from ast_ray.core.engines.convnet.block import Block, Forward, Tangent, total
from ast_ray.core.engines.convnet.conv import conv, conv_input, conv_weight, through_inputs
from ast_ray.core.engines.convnet.kernels import Kernels


@dataclass(frozen=True)
class Weights:
    """A ConvNet's weights, or a direction on them: per block (kernel, gamma, beta), then the linear layer's two."""

    kernels: tuple[Tensor, ...]
    gammas: tuple[Tensor, ...]
    betas: tuple[Tensor, ...]
    linear: Tensor
    offset: Tensor


@dataclass(frozen=True)
class Saved:
    """The tensors of one gradient that its derivative needs: the weights, each block's, and the head's."""

    weights: Weights
    blocks: Sequence[Block]
    features: Tensor
    probability: Tensor
    d_logits: Tensor
    mask: Tensor | None
    scale: Tensor


@dataclass(frozen=True)
class Parts:
    """Derivatives in the layout of `Weights`, summed over the batch."""

    kernels: list[Tensor]
    gammas: list[Tensor]
    betas: list[Tensor]
    linear: Tensor
    offset: Tensor

    @classmethod
    def of(cls, weights: Weights, linear: Tensor, offset: Tensor) -> Parts:
        """With the head's parts, and places for the blocks'."""
        return cls(list(weights.kernels), list(weights.gammas), list(weights.betas), linear, offset)


def forward(passes: Kernels, weights: Weights, x: Tensor) -> tuple[list[Forward], Tensor]:
    """Every block of images x [B, H, W, C], and the last one's output."""
    a, found = x, []
    for kernel, gamma, beta in zip(weights.kernels, weights.gammas, weights.betas, strict=True):
        computed, a = blocks_of.forward(passes, a, kernel, gamma, beta)
        found.append(computed)
    return found, a


def gradient(
    passes: Kernels, weights: Weights, x: Tensor, one_hot: Tensor, mask: Tensor | None, scale: Tensor
) -> tuple[Parts, Saved]:
    """Differentiate sum_b scale_b * CE_b.

    Args:
        x: images [B, H, W, C]; one_hot: labels [B, K], rows adding up to 1; mask: on the features [B, F] or None;
            scale: nu/B, 0-dim or one per image [B, 1].
    """
    computed, a = forward(passes, weights, x)
    features = flat(a, one_hot.dtype) if mask is None else flat(a, one_hot.dtype) * mask
    probability = torch.softmax(F.linear(features, weights.linear, weights.offset), 1)
    d_logits = (probability - one_hot) * scale
    parts = Parts.of(weights, d_logits.T @ features, d_logits.sum(0))
    da = unflat(d_logits @ weights.linear, mask, a)
    blocks: list[Block] = []
    for index in range(len(computed) - 1, -1, -1):
        of = computed.pop()
        block, dz = blocks_of.backward(passes, of, da)
        blocks.insert(0, block)
        parts.kernels[index] = conv_weight(dz, of.a, weights.kernels[index])
        parts.gammas[index], parts.betas[index] = total(block.d_gamma, of.z), total(block.d_beta, of.z)
        if index:
            da = conv_input(dz, of.a, weights.kernels[index])
    return parts, Saved(weights, blocks, features, probability, d_logits, mask, scale)


def derivative(passes: Kernels, kept: Saved, toward: Weights) -> tuple[Parts, Tensor]:
    """Return the tangent of the gradient in the direction ``toward``, and that of the images' gradient [B, H, W, C]."""
    parts, images = _tangent(passes, kept, toward, weights_too=True)
    assert parts is not None
    return parts, images


def image_derivative(passes: Kernels, kept: Saved, toward: Weights) -> Tensor:
    """Return the second of `derivative`'s results alone: two convolutions per layer less, one in the first."""
    return _tangent(passes, kept, toward, weights_too=False)[1]


def _tangent(passes: Kernels, kept: Saved, toward: Weights, *, weights_too: bool) -> tuple[Parts | None, Tensor]:
    weights, mask = kept.weights, kept.mask
    at: Tensor | None = None
    tangents: list[Tangent] = []
    for index, block in enumerate(kept.blocks):
        zt = conv(block.forward.a, toward.kernels[index])
        if at is not None:
            zt += conv(at, weights.kernels[index])
        moved, at = blocks_of.tangent(passes, block, at, zt, toward.gammas[index], toward.betas[index])
        tangents.append(moved)
    assert at is not None
    features_t = flat(at, kept.features.dtype) if mask is None else flat(at, kept.features.dtype) * mask
    logits_t = F.linear(features_t, weights.linear, toward.offset) + kept.features @ toward.linear.T
    weighted = kept.probability * logits_t
    d_logits_t = (weighted - kept.probability * weighted.sum(1, keepdim=True)) * kept.scale
    parts = None
    if weights_too:
        linear = d_logits_t.T @ kept.features + kept.d_logits.T @ features_t
        parts = Parts.of(weights, linear, d_logits_t.sum(0))
    dat = unflat(d_logits_t @ weights.linear + kept.d_logits @ toward.linear, mask, at)
    for index in range(len(kept.blocks) - 1, -1, -1):
        block = kept.blocks[index]
        moved = tangents.pop()
        kernel = weights.kernels[index]
        dzt, d_gamma_t, d_beta_t = blocks_of.dzt(passes, block, moved, toward.gammas[index], dat)
        dz = blocks_of.dz(passes, block)
        a, z = block.forward.a, block.forward.z
        if parts is not None:
            found = conv_weight(dzt, a, kernel)
            parts.kernels[index] = found if moved.at is None else found + conv_weight(dz, moved.at, kernel)
            parts.gammas[index], parts.betas[index] = total(d_gamma_t, z), total(d_beta_t, z)
        dat = through_inputs([(dzt, kernel), (dz, toward.kernels[index])], a)
    return parts, dat


def flat(a: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, H, W, C] -> [B, C*H*W], the order the linear layer's weights are in."""
    return a.permute(0, 3, 1, 2).flatten(1).to(dtype)


def unflat(d_features: Tensor, mask: Tensor | None, like: Tensor) -> Tensor:
    """The transpose of `flat`, in the shape and type of ``like``."""
    batch, height, width, channels = like.shape
    masked = d_features if mask is None else d_features * mask
    return masked.view(batch, channels, height, width).permute(0, 2, 3, 1).contiguous().to(like.dtype)


__all__ = ["Parts", "Saved", "Weights", "derivative", "forward", "gradient", "image_derivative"]
