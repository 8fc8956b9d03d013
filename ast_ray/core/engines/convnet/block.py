"""One ConvNet block of the written-out step: what it keeps, its gradient, its tangent, and the tangent of its gradient.

The arithmetic over whole activations is in `passes`; here are the statistics between those passes (notation there).
Tensors are [B, H, W, C], statistics [B, 1, 1, C], gamma and beta [C].
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ast_ray.core.engines.convnet.conv import conv
from ast_ray.core.engines.convnet.kernels import Kernels


@dataclass(frozen=True)
class Forward:
    """A block's input and what its forward pass computed."""

    a: Tensor
    z: Tensor
    mean: Tensor
    rstd: Tensor
    slope: Tensor
    beta: Tensor


@dataclass(frozen=True)
class Block:
    """The tensors that a block saves in the gradient for its derivative."""

    forward: Forward
    da: Tensor
    d_beta: Tensor
    d_gamma: Tensor


@dataclass(frozen=True)
class Tangent:
    """A block's input tangent (None: its input does not move) and what its tangent pass computed."""

    at: Tensor | None
    zt: Tensor
    zt_mean: Tensor
    zt_x: Tensor


def forward(passes: Kernels, a: Tensor, kernel: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Forward, Tensor]:
    """Return the block's intermediate tensors, and its output [B, H/2, W/2, C]."""
    z = conv(a, kernel)
    pooled, mean, rstd = passes.forward(z, gamma, beta)
    return Forward(a, z, mean, rstd, rstd * gamma, beta), pooled


def backward(passes: Kernels, of: Forward, da: Tensor) -> tuple[Block, Tensor]:
    """Return what the block saves of its output's gradient da, and dz = gamma * J(dy)."""
    d_beta, centred = passes.sums(of.z, of.mean, of.slope, of.beta, da)
    block = Block(of, da, d_beta, of.rstd * centred)
    return block, dz(passes, block)


def dz(passes: Kernels, block: Block) -> Tensor:
    """Dz = gamma * J(dy), again."""
    of = block.forward
    along, constant = -of.slope * of.rstd * block.d_gamma, -of.slope * block.d_beta
    return passes.backward(of.z, of.mean, of.slope, of.beta, block.da, along, constant)


def tangent(
    passes: Kernels, block: Block, at: Tensor | None, zt: Tensor, gamma_t: Tensor, beta_t: Tensor
) -> tuple[Tangent, Tensor]:
    """From the tangent zt of the convolution's output to that of the block's; gamma_t, beta_t: of its own weights."""
    of = block.forward
    zt_mean, zt_sum = passes.tangent_sums(of.z, of.mean, zt)
    zt_x = of.rstd * zt_sum  # mean(z. * x)
    along, constant = of.rstd * (gamma_t - of.slope * zt_x), beta_t - of.slope * zt_mean
    moved = passes.tangent_forward(of.z, of.mean, of.slope, of.beta, zt, along, constant)
    return Tangent(at, zt, zt_mean, zt_x), moved


def dzt(passes: Kernels, block: Block, moved: Tangent, gamma_t: Tensor, dat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return dz., and the per-image means behind the tangents of gamma's and beta's gradients."""
    of = block.forward
    zt = moved.zt
    zt_mean = moved.zt_mean
    zt_x = moved.zt_x
    z = of.z
    mean = of.mean
    rstd = of.rstd
    slope = of.slope
    d_beta_t, dyt_sum = passes.sums(z, mean, slope, of.beta, dat)
    crossed = passes.product(z, mean, slope, of.beta, block.da, zt)
    dy_xt = rstd * (crossed - zt_mean * block.d_beta - zt_x * block.d_gamma)
    d_gamma_t = rstd * dyt_sum + dy_xt
    slope_t = rstd * (gamma_t - slope * zt_x)  # the tangent of rstd*gamma
    on_zt = -slope * rstd * block.d_gamma
    on_x = slope * (rstd * zt_x * block.d_gamma - d_gamma_t) - slope_t * block.d_gamma
    constant = -slope_t * block.d_beta - slope * d_beta_t - on_zt * zt_mean
    found = passes.tangent_backward(z, mean, slope, of.beta, block.da, dat, zt, slope_t, on_x * rstd, on_zt, constant)
    return found, d_gamma_t, d_beta_t


def total(mean: Tensor, z: Tensor) -> Tensor:
    """From means over positions [B, 1, 1, C] to sums over positions and batch [C]."""
    return mean.sum((0, 1, 2)) * (z.shape[1] * z.shape[2])
