"""Everything between two convolutions of a ConvNet block, in few passes over memory: instance norm, ReLU, pooling.

Tensors are [B, H, W, C], statistics [B, 1, 1, C], gamma and beta [C]. With z the convolution's output,

    x = (z - mean) * rstd,   y = gamma*x + beta,   a = pool(relu(y))

A dot after a name is its tangent: its derivative when the weights move in a given direction. Instance norm's Jacobian
is J(v) = rstd * (v - mean(v) - x * mean(v*x)), so that

    x. = J(z.)           dz  = gamma * J(dy)            rstd. = -rstd^2 * mean(z. * x)
    dz. = (gamma*rstd). * u + gamma*rstd * (dy. - mean(dy.) - x.*mean(dy*x) - x*mean(dy.*x + dy*x.)),  u = J(dy) / rstd

The tangent of a gradient in the direction w is the derivative of <gradient, w>, since second derivatives commute.
Pure functions of fixed shape: torch.compile fuses each into one or two loops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5  # torch's GroupNorm


def _mean(x: Tensor) -> Tensor:
    return x.mean((1, 2), keepdim=True)


def _pool(x: Tensor) -> Tensor:
    """2x2 average pooling; an odd last row or column is left out, as AvgPool2d does."""
    batch, height, width, channels = x.shape
    down, across = height // 2, width // 2
    return x[:, : 2 * down, : 2 * across].reshape(batch, down, 2, across, 2, channels).mean((2, 4))


def _unpool(d: Tensor, size: tuple[int, int]) -> Tensor:
    """The transpose of `_pool`, back to ``size``."""
    batch, down, across, channels = d.shape
    spread = (d * 0.25)[:, :, None, :, None, :].expand(batch, down, 2, across, 2, channels)
    full = spread.reshape(batch, 2 * down, 2 * across, channels)
    odd = (size[0] - 2 * down, size[1] - 2 * across)
    return F.pad(full, (0, 0, 0, odd[1], 0, odd[0])) if any(odd) else full


def forward(z: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a, mean and rstd."""
    mean = _mean(z)
    rstd = (_mean((z - mean).square()) + EPS).rsqrt()
    return _pool(((z - mean) * (rstd * gamma) + beta).relu()), mean, rstd


def sums(z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean(dy) and mean(dy * (z - mean)), for slope = rstd*gamma."""
    centred = z - mean
    dy = torch.where(centred * slope + beta > 0, _unpool(da, _size(z)), 0.0)
    return _mean(dy), _mean(dy * centred)


def product(z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, da: Tensor, zt: Tensor) -> Tensor:
    """Return mean(dy * z.)."""
    return _mean(torch.where((z - mean) * slope + beta > 0, _unpool(da, _size(z)), 0.0) * zt)


def backward(
    z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, da: Tensor, along: Tensor, constant: Tensor
) -> Tensor:
    """Return dz = slope*dy + along*(z - mean) + constant."""
    centred = z - mean
    return torch.where(centred * slope + beta > 0, slope * _unpool(da, _size(z)), 0.0) + (along * centred + constant)


def tangent_sums(z: Tensor, mean: Tensor, zt: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean(z.) and mean(z. * (z - mean))."""
    return _mean(zt), _mean(zt * (z - mean))


def tangent_forward(
    z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, zt: Tensor, along: Tensor, constant: Tensor
) -> Tensor:
    """Return a. for y. = slope*z. + along*(z - mean) + constant."""
    centred = z - mean
    return _pool(torch.where(centred * slope + beta > 0, slope * zt + along * centred + constant, 0.0))


def tangent_backward(
    z: Tensor,
    mean: Tensor,
    slope: Tensor,
    beta: Tensor,
    da: Tensor,
    dat: Tensor,
    zt: Tensor,
    slope_t: Tensor,
    along: Tensor,
    along_t: Tensor,
    constant: Tensor,
) -> Tensor:
    """Return dz. = slope_t*dy + slope*dy. + along*(z - mean) + along_t*z. + constant."""
    centred = z - mean
    both = slope_t * _unpool(da, _size(z)) + slope * _unpool(dat, _size(z))
    return torch.where(centred * slope + beta > 0, both, 0.0) + (along * centred + along_t * zt + constant)


def _size(z: Tensor) -> tuple[int, int]:
    return z.shape[1], z.shape[2]


@dataclass(frozen=True)
class Passes:
    """The functions above: as they are, or each fused by torch.compile."""

    forward: Callable[..., tuple[Tensor, Tensor, Tensor]] = forward
    sums: Callable[..., tuple[Tensor, Tensor]] = sums
    product: Callable[..., Tensor] = product
    backward: Callable[..., Tensor] = backward
    tangent_sums: Callable[..., tuple[Tensor, Tensor]] = tangent_sums
    tangent_forward: Callable[..., Tensor] = tangent_forward
    tangent_backward: Callable[..., Tensor] = tangent_backward

    @classmethod
    def compiled(cls) -> Passes:
        """Fused, for the shapes they meet; compiled at the first call with each shape, and cached on disk."""
        from torch._dynamo import config as tracing  # slow to import, and of no use to whoever does not compile
        from torch._inductor import config as compiling

        limit = "recompile_limit" if hasattr(tracing, "recompile_limit") else "cache_size_limit"  # torch < 2.6
        setattr(tracing, limit, 64)  # shapes: blocks, chunk sizes, batch sizes
        compiling.compile_threads = 1  # no pool of processes beside a task
        plain = cls()
        named = {item.name: getattr(plain, item.name) for item in fields(cls)}
        return cls(**{name: torch.compile(call, dynamic=False, fullgraph=True) for name, call in named.items()})
