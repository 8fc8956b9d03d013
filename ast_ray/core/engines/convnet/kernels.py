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


def _wide(x: Tensor) -> Tensor:
    """Activations may lie in bfloat16; what is computed of them is float32."""
    return x.float() if x.dtype == torch.bfloat16 else x


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
    wide = _wide(z)
    mean = _mean(wide)
    rstd = (_mean((wide - mean).square()) + EPS).rsqrt()
    return _pool(((wide - mean) * (rstd * gamma) + beta).relu()).to(z.dtype), mean, rstd


def sums(z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean(dy) and mean(dy * (z - mean)), for slope = rstd*gamma."""
    centred = _wide(z) - mean
    dy = torch.where(centred * slope + beta > 0, _unpool(_wide(da), _size(z)), 0.0)
    return _mean(dy), _mean(dy * centred)


def product(z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, da: Tensor, zt: Tensor) -> Tensor:
    """Return mean(dy * z.)."""
    return _mean(torch.where((_wide(z) - mean) * slope + beta > 0, _unpool(_wide(da), _size(z)), 0.0) * _wide(zt))


def backward(
    z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, da: Tensor, along: Tensor, constant: Tensor
) -> Tensor:
    """Return dz = slope*dy + along*(z - mean) + constant."""
    centred = _wide(z) - mean
    dy = torch.where(centred * slope + beta > 0, slope * _unpool(_wide(da), _size(z)), 0.0)
    return (dy + (along * centred + constant)).to(z.dtype)


def tangent_sums(z: Tensor, mean: Tensor, zt: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean(z.) and mean(z. * (z - mean))."""
    wide = _wide(zt)
    return _mean(wide), _mean(wide * (_wide(z) - mean))


def tangent_forward(
    z: Tensor, mean: Tensor, slope: Tensor, beta: Tensor, zt: Tensor, along: Tensor, constant: Tensor
) -> Tensor:
    """Return a. for y. = slope*z. + along*(z - mean) + constant."""
    centred = _wide(z) - mean
    yt = torch.where(centred * slope + beta > 0, slope * _wide(zt) + along * centred + constant, 0.0)
    return _pool(yt).to(z.dtype)


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
    centred = _wide(z) - mean
    both = slope_t * _unpool(_wide(da), _size(z)) + slope * _unpool(_wide(dat), _size(z))
    dyt = torch.where(centred * slope + beta > 0, both, 0.0)
    return (dyt + (along * centred + along_t * _wide(zt) + constant)).to(z.dtype)


def _size(z: Tensor) -> tuple[int, int]:
    return z.shape[1], z.shape[2]


@dataclass(frozen=True)
class Kernels:
    """The functions above: as they are, or each fused by torch.compile."""

    forward: Callable[..., tuple[Tensor, Tensor, Tensor]] = forward
    sums: Callable[..., tuple[Tensor, Tensor]] = sums
    product: Callable[..., Tensor] = product
    backward: Callable[..., Tensor] = backward
    tangent_sums: Callable[..., tuple[Tensor, Tensor]] = tangent_sums
    tangent_forward: Callable[..., Tensor] = tangent_forward
    tangent_backward: Callable[..., Tensor] = tangent_backward

    @classmethod
    def compiled(cls) -> Kernels:
        """Fused, for the shapes they meet; compiled at the first call with each shape, and cached on disk."""
        from torch._dynamo import config as tracing  # slow to import, and of no use to whoever does not compile
        from torch._inductor import config as compiling

        limit = "recompile_limit" if hasattr(tracing, "recompile_limit") else "cache_size_limit"  # torch < 2.6
        setattr(tracing, limit, 64)  # shapes: blocks, chunk sizes, batch sizes
        compiling.compile_threads = 1  # no pool of processes beside a task
        plain = cls()
        named = {item.name: getattr(plain, item.name) for item in fields(cls)}
        return cls(**{name: torch.compile(call, dynamic=False, fullgraph=True) for name, call in named.items()})
