"""The engine of the written-out ConvNet step: cuts the batch into chunks that stay in cache, and theta into weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ast_ray.core.engines.autograd import StepData
from ast_ray.core.engines.convnet.kernels import Kernels
from ast_ray.core.engines.convnet.step import Parts, Weights, derivative, gradient, image_derivative
from ast_ray.core.networks import Network
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.core.parameters import FlatSpec


def supports(network: Network) -> bool:
    """Return whether the hand-derived step covers this network: a ConvNet with instance norm, its maps not padded."""
    if not isinstance(network, ConvNet) or next(iter(network.blocks)).padding != (1, 1):
        return False
    norms = list(network.blocks)[1::4]
    return all(isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels for norm in norms)


def chunk_rows(batch: int, row_bytes: int, limit: int) -> int:
    """Images per chunk: as many as ``limit`` bytes of the largest activation hold, in equal chunks where possible.

    >>> [chunk_rows(100, 512, 512 * rows) for rows in (100, 40, 25, 7, 0)]
    [100, 25, 25, 5, 1]
    """
    fewest = -(-batch // max(1, limit // row_bytes))
    even = next((count for count in range(fewest, min(batch, 2 * fewest - 1) + 1) if batch % count == 0), fewest)
    return -(-batch // even)


@dataclass(frozen=True)
class ManualConvNetEngine:
    """ConvNet's step written out.

    Args:
        spec: the network's layout; limit: bytes of the largest activation per chunk, 0 = the whole batch at once;
        precision: of activations and of what convolutions multiply, None = that of theta. Statistics, the head and
        every sum over the batch keep theta's.
    """

    spec: FlatSpec
    passes: Kernels = field(default_factory=Kernels)
    limit: int = 0
    precision: torch.dtype | None = None

    @torch.no_grad()
    def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
        """See `core.engines.autograd.Engine`; keeps z, the pooled activations and their gradients."""
        weights = weights_of(self.spec, theta.detach(), self.precision)
        kept = []
        total = torch.zeros_like(theta)
        nu = data.nu if isinstance(data.nu, Tensor) else torch.tensor(data.nu, dtype=theta.dtype, device=theta.device)
        scale = nu / len(data.labels)
        for images, labels, mask in self._chunks(data):
            x, marked = channels_last(images, self.precision), one_hot(labels, weights)
            parts, chunk = gradient(self.passes, weights, x, marked, mask, scale)
            total += flattened(self.spec, parts)
            if keep:
                kept.append(chunk)
        return total, kept if keep else None

    @torch.no_grad()
    def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
        """See `core.engines.autograd.Engine`."""
        direction = weights_of(self.spec, toward, self.precision)
        total = torch.zeros_like(toward)
        through = []
        for chunk in kept:
            parts, images = derivative(self.passes, chunk, direction)
            total += flattened(self.spec, parts)
            through.append(images.permute(0, 3, 1, 2).to(toward.dtype))
        return total, torch.cat(through).contiguous()

    @torch.no_grad()
    def image_derivative(self, kept: Any, toward: Tensor) -> Tensor:
        """See `core.engines.autograd.Engine`; leaves out the convolutions that only the weights' part needs."""
        direction = weights_of(self.spec, toward, self.precision)
        through = [image_derivative(self.passes, chunk, direction).permute(0, 3, 1, 2) for chunk in kept]
        return torch.cat([part.to(toward.dtype) for part in through]).contiguous()

    def rows(self, batch: int, images: Tensor) -> int:
        """Images per chunk of a batch of so many images like these [B, C, H, W]."""
        if not self.limit:
            return batch
        _, _, height, width = images.shape
        item = (self.precision or images.dtype).itemsize
        return chunk_rows(batch, self.spec.shapes[0][0] * height * width * item, self.limit)

    def _chunks(self, data: StepData) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        batch = len(data.images)
        rows = self.rows(batch, data.images)
        for first in range(0, batch, rows):
            part = slice(first, first + rows)
            mask = None if data.feature_mask is None else data.feature_mask[part].to(data.images.dtype)
            yield data.images[part], data.labels[part], mask


def weights_of(spec: FlatSpec, theta: Tensor, precision: torch.dtype | None = None) -> Weights:
    """Theta [P] in the layout the step works on, kernels in ``precision``."""
    *blocks, linear, offset = spec.views(theta).values()
    layers = [blocks[first : first + 4] for first in range(0, len(blocks), 4)]  # kernel, bias, gamma, beta
    kernels = [kernel.to(precision or theta.dtype) for kernel, _, _, _ in layers]
    return Weights(
        kernels=tuple(kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels),
        gammas=tuple(gamma.clone() for _, _, gamma, _ in layers),  # aligned, as compiled code wants it
        betas=tuple(beta.clone() for _, _, _, beta in layers),
        linear=linear,
        offset=offset,
    )


def one_hot(labels: Tensor, weights: Weights) -> Tensor:
    """Labels [B] as [B, K], in the type of the head; probabilities [B, K] are so already."""
    offset = weights.offset
    if labels.dim() == 2:
        return labels.to(offset.dtype)
    return (labels[:, None] == torch.arange(len(offset), device=offset.device)).to(offset.dtype)


def flattened(spec: FlatSpec, parts: Parts) -> Tensor:
    """[P] in the order of `FlatSpec`; the convolutions' biases get their zeros."""
    pieces = []
    for kernel, gamma, beta in zip(parts.kernels, parts.gammas, parts.betas, strict=True):
        pieces += [kernel.reshape(-1).to(beta.dtype), torch.zeros_like(beta), gamma, beta]
    return torch.cat([*pieces, parts.linear.reshape(-1), parts.offset])


def channels_last(images: Tensor, precision: torch.dtype | None = None) -> Tensor:
    """[B, C, H, W] -> [B, H, W, C] in ``precision``."""
    return images.permute(0, 2, 3, 1).to(precision or images.dtype).contiguous()
