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

from ast_ray.core.engine.passes import Passes

_STEP = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)  # stride, padding, dilation, transposed, output padding, groups


@dataclass(frozen=True)
class Weights:
    """A ConvNet's weights, or a direction on them: per block (kernel, gamma, beta), then the linear layer's two."""

    kernels: tuple[Tensor, ...]
    gammas: tuple[Tensor, ...]
    betas: tuple[Tensor, ...]
    linear: Tensor
    offset: Tensor


@dataclass(frozen=True)
class Block:
    """What a block keeps from the gradient for its derivative; tensors are [B, H, W, C], statistics [B, 1, 1, C]."""

    a: Tensor
    z: Tensor
    mean: Tensor
    rstd: Tensor
    slope: Tensor
    da: Tensor
    d_beta: Tensor
    d_gamma: Tensor


@dataclass(frozen=True)
class Kept:
    """What the derivative needs of one gradient: the weights, each block's tensors, and the head's."""

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


def gradient(
    passes: Passes, weights: Weights, x: Tensor, one_hot: Tensor, mask: Tensor | None, scale: Tensor
) -> tuple[Parts, Kept]:
    """Differentiate scale * sum_b CE_b.

    Args:
        x: images [B, H, W, C]; one_hot: labels [B, K]; mask: on the features [B, F] or None; scale: nu/B, 0-dim.
    """
    a, forward = x, []
    for kernel, gamma, beta in zip(weights.kernels, weights.gammas, weights.betas, strict=True):
        z = _conv(a, kernel)
        pooled, mean, rstd = passes.forward(z, gamma, beta)
        forward.append((a, z, mean, rstd, rstd * gamma))
        a = pooled
    features = _flat(a) if mask is None else _flat(a) * mask
    probability = torch.softmax(F.linear(features, weights.linear, weights.offset), 1)
    d_logits = (probability - one_hot) * scale
    parts = _empty(weights, d_logits.T @ features, d_logits.sum(0))
    da = _unflat(d_logits @ weights.linear, mask, a)
    blocks: list[Block] = []
    for index in range(len(forward) - 1, -1, -1):
        (a, z, mean, rstd, slope), beta = forward.pop(), weights.betas[index]
        d_beta, centred = passes.sums(z, mean, slope, beta, da)
        block = Block(a, z, mean, rstd, slope, da, d_beta, rstd * centred)
        blocks.insert(0, block)
        dz = _dz(passes, block, beta)
        parts.kernels[index] = _conv_weight(dz, a, weights.kernels[index])
        parts.gammas[index], parts.betas[index] = _total(block.d_gamma, z), _total(d_beta, z)
        if index:
            da = _conv_input(dz, a, weights.kernels[index])
    return parts, Kept(weights, blocks, features, probability, d_logits, mask, scale)


def derivative(passes: Passes, kept: Kept, toward: Weights) -> tuple[Parts, Tensor]:
    """Return the tangent of the gradient in the direction ``toward``, and that of the images' gradient [B, H, W, C]."""
    weights, blocks, mask = kept.weights, kept.blocks, kept.mask
    at: Tensor | None = None
    tangents = []
    for index, block in enumerate(blocks):
        zt = _conv(block.a, toward.kernels[index])
        if at is not None:
            zt += _conv(at, weights.kernels[index])
        zt_mean, zt_sum = passes.tangent_sums(block.z, block.mean, zt)
        zt_x = block.rstd * zt_sum  # mean(z. * x)
        along = block.rstd * (toward.gammas[index] - block.slope * zt_x)
        constant = toward.betas[index] - block.slope * zt_mean
        tangents.append((at, zt, zt_mean, zt_x))
        at = passes.tangent_forward(block.z, block.mean, block.slope, weights.betas[index], zt, along, constant)
    assert at is not None
    features_t = _flat(at) if mask is None else _flat(at) * mask
    logits_t = F.linear(features_t, weights.linear, toward.offset) + kept.features @ toward.linear.T
    weighted = kept.probability * logits_t
    d_logits_t = (weighted - kept.probability * weighted.sum(1, keepdim=True)) * kept.scale
    linear = d_logits_t.T @ kept.features + kept.d_logits.T @ features_t
    parts = _empty(weights, linear, d_logits_t.sum(0))
    dat = _unflat(d_logits_t @ weights.linear + kept.d_logits @ toward.linear, mask, at)
    for index in range(len(blocks) - 1, -1, -1):
        block, (at, zt, zt_mean, zt_x) = blocks[index], tangents.pop()
        dzt, d_gamma_t, d_beta_t = _dzt(
            passes, block, weights.betas[index], toward.gammas[index], zt, zt_mean, zt_x, dat
        )
        dz = _dz(passes, block, weights.betas[index])
        kernel = _conv_weight(dzt, block.a, weights.kernels[index])
        parts.kernels[index] = kernel if at is None else kernel + _conv_weight(dz, at, weights.kernels[index])
        parts.gammas[index], parts.betas[index] = _total(d_gamma_t, block.z), _total(d_beta_t, block.z)
        dat = _through_input(dzt, dz, block.a, weights.kernels[index], toward.kernels[index])
    return parts, dat


def _dz(passes: Passes, block: Block, beta: Tensor) -> Tensor:
    """Dz = gamma * J(dy)."""
    along, constant = -block.slope * block.rstd * block.d_gamma, -block.slope * block.d_beta
    return passes.backward(block.z, block.mean, block.slope, beta, block.da, along, constant)


def _dzt(
    passes: Passes,
    block: Block,
    beta: Tensor,
    gamma_t: Tensor,
    zt: Tensor,
    zt_mean: Tensor,
    zt_x: Tensor,
    dat: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dz., and the per-image means behind the tangents of gamma's and beta's gradients."""
    z, mean, rstd, slope = block.z, block.mean, block.rstd, block.slope
    d_beta_t, dyt_sum = passes.sums(z, mean, slope, beta, dat)
    dy_xt = rstd * (passes.product(z, mean, slope, beta, block.da, zt) - zt_mean * block.d_beta - zt_x * block.d_gamma)
    d_gamma_t = rstd * dyt_sum + dy_xt
    slope_t = rstd * (gamma_t - slope * zt_x)  # the tangent of rstd*gamma
    on_zt = -slope * rstd * block.d_gamma
    on_x = slope * (rstd * zt_x * block.d_gamma - d_gamma_t) - slope_t * block.d_gamma
    constant = -slope_t * block.d_beta - slope * d_beta_t - on_zt * zt_mean
    dzt = passes.tangent_backward(z, mean, slope, beta, block.da, dat, zt, slope_t, on_x * rstd, on_zt, constant)
    return dzt, d_gamma_t, d_beta_t


def _conv(a: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(a.permute(0, 3, 1, 2), kernel, padding=1).permute(0, 2, 3, 1)


def _conv_input(dz: Tensor, a: Tensor, kernel: Tensor) -> Tensor:
    return _conv_backward(dz, a, kernel, [True, False, False])[0].permute(0, 2, 3, 1)


def _through_input(dzt: Tensor, dz: Tensor, a: Tensor, kernel: Tensor, kernel_t: Tensor) -> Tensor:
    """The tangent of a convolution's input gradient; few channels go as matrix products, twice as fast on a CPU."""
    if a.device.type != "cpu" or 4 * a.shape[3] > dz.shape[3]:
        return _conv_input(dzt, a, kernel) + _conv_input(dz, a, kernel_t)
    batch, height, width, filters = dz.shape
    columns = torch.addmm(
        dz.reshape(-1, filters) @ kernel_t.flatten(1), dzt.reshape(-1, filters), kernel.flatten(1)
    )  # [B*H*W, C*9]
    columns = columns.view(batch, height * width, -1).transpose(1, 2)
    return F.fold(columns, (height, width), 3, padding=1).permute(0, 2, 3, 1)


def _conv_weight(dz: Tensor, a: Tensor, kernel: Tensor) -> Tensor:
    return _conv_backward(dz, a, kernel, [False, True, False])[1]


def _conv_backward(dz: Tensor, a: Tensor, kernel: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    first, second = dz.permute(0, 3, 1, 2), a.permute(0, 3, 1, 2)
    return torch.ops.aten.convolution_backward(first, second, kernel, None, *_STEP, wanted)  # type: ignore[no-any-return]


def _flat(a: Tensor) -> Tensor:
    """[B, H, W, C] -> [B, C*H*W], the order the linear layer's weights are in."""
    return a.permute(0, 3, 1, 2).flatten(1)


def _unflat(d_features: Tensor, mask: Tensor | None, like: Tensor) -> Tensor:
    batch, height, width, channels = like.shape
    masked = d_features if mask is None else d_features * mask
    return masked.view(batch, channels, height, width).permute(0, 2, 3, 1).contiguous()


def _total(mean: Tensor, z: Tensor) -> Tensor:
    """From means over positions [B, 1, 1, C] to sums over positions and batch [C]."""
    return mean.sum((0, 1, 2)) * (z.shape[1] * z.shape[2])


def _empty(weights: Weights, linear: Tensor, offset: Tensor) -> Parts:
    return Parts(list(weights.kernels), list(weights.gammas), list(weights.betas), linear, offset)


__all__ = ["Kept", "Parts", "Weights", "derivative", "gradient"]
