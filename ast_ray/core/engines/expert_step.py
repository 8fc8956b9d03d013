"""Engines of an expert's step: the gradient of L_SC along theta (Eq. 19), by autograd or hand-derived.

`AutogradExpertStep` serves every network; `ManualExpertStep` is ConvNet's, the batch in chunks of one size that stay
in cache, so that compiled code meets few shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import ExpertConfig
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine, channels_last, flattened, one_hot, weights_of
from ast_ray.core.engines.convnet.penalty import penalty_gradient
from ast_ray.core.engines.convnet.step import Saved, Weights, gradient
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, call
from ast_ray.core.precision import autocast
from ast_ray.core.smoothness import gradient_penalty


@dataclass(frozen=True)
class ExpertBatch:
    """The data of one step: images and their augmented form [B, C, H, W], labels [B], and lambda of the epoch."""

    images: Tensor
    augmented: Tensor
    labels: Tensor
    coefficient: float


class ExpertStep(Protocol):
    """The gradient of L_SC = lambda * CE + mu * penalty on one batch."""

    def __call__(self, theta: Tensor, batch: ExpertBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient [P] at theta [P], L_SC and the penalty without its weight (scalars)."""


@dataclass(frozen=True)
class AutogradExpertStep:
    """Torch's double backward, for any network; mu = 0 skips the penalty."""

    network: Network
    spec: FlatSpec
    config: ExpertConfig

    def __call__(self, theta: Tensor, batch: ExpertBatch) -> tuple[Tensor, Tensor, Tensor]:
        """See `ExpertStep`."""
        theta = theta.detach().requires_grad_()

        def model(images: Tensor) -> Tensor:
            with autocast(self.config.expert_precision, images.device):
                return call(self.network, self.spec, theta, images).to(theta.dtype)

        loss = batch.coefficient * F.cross_entropy(model(batch.augmented), batch.labels)
        penalty = torch.zeros_like(loss)
        if self.config.penalty_weight:
            penalty = gradient_penalty(model, batch.images, batch.labels, self.config)
            loss = loss + self.config.penalty_weight * penalty
        (found,) = torch.autograd.grad(loss, theta)
        return found, loss.detach(), penalty.detach()


@dataclass(frozen=True)
class ManualExpertStep:
    """ConvNet's step written out over `engine`'s passes and chunks; ``batch_size``: images of a full batch."""

    engine: ManualConvNetEngine
    config: ExpertConfig
    batch_size: int

    @torch.no_grad()
    def __call__(self, theta: Tensor, batch: ExpertBatch) -> tuple[Tensor, Tensor, Tensor]:
        """See `ExpertStep`."""
        engine = self.engine
        mu = self.config.penalty_weight
        count = len(batch.labels)
        weights = weights_of(engine.spec, theta, engine.precision)
        found = torch.zeros_like(theta)
        entropy = theta.new_zeros(())
        penalty = theta.new_zeros(())
        for chunk in self._chunks(batch):
            marked = one_hot(chunk.labels, weights)
            scale = batch.coefficient / count * chunk.counts[:, None]
            images = channels_last(chunk.augmented, engine.precision)
            parts, kept = gradient(engine.passes, weights, images, marked, None, scale)
            found += flattened(engine.spec, parts)
            entropy += _entropy(weights, kept, chunk)
            if mu:
                over = _Penalty(self.config, chunk.counts, count)
                d_logits = marked if self.config.penalty_scalar == "true_class" else torch.ones_like(marked)
                images = channels_last(chunk.images, engine.precision)
                parts = penalty_gradient(engine.passes, weights, images, d_logits, over.direction)
                found.add_(flattened(engine.spec, parts), alpha=mu)
                penalty += over.total
        return found, batch.coefficient / count * entropy + mu * penalty, penalty

    def _chunks(self, batch: ExpertBatch) -> Iterator[_Chunk]:
        """Chunks of the size that divides a full batch; the last one is filled up with images that do not count."""
        rows = self.engine.rows(self.batch_size, batch.images)
        order = torch.arange(-(-len(batch.labels) // rows) * rows, device=batch.labels.device)
        counts = (order < len(batch.labels)).to(batch.images.dtype)
        order = order.clamp(max=len(batch.labels) - 1)
        for part, counted in zip(order.split(rows), counts.split(rows), strict=True):
            yield _Chunk(batch.images[part], batch.augmented[part], batch.labels[part], counted)


@dataclass(frozen=True)
class _Chunk:
    """Part of a batch; ``counts`` [rows]: 1, or 0 for a row that only fills up."""

    images: Tensor
    augmented: Tensor
    labels: Tensor
    counts: Tensor


class _Penalty:
    """Phi of one chunk, as `smoothness.gradient_penalty` has it, and its derivative; adds up its value."""

    def __init__(self, config: ExpertConfig, counts: Tensor, count: int) -> None:
        self._config = config
        self._counts = counts
        self._count = count
        self.total = counts.new_zeros(())

    def direction(self, s: Tensor) -> Tensor:
        """V = phi'(s) [B, H, W, C]; 0 where the norm is 0, as torch's norm has it."""
        s, over = s.to(self._counts.dtype), (1, 2, 3) if self._config.penalty_norm == "sample" else (3,)
        norm: Tensor = torch.linalg.vector_norm(s, dim=over, keepdim=True)
        excess = norm - self._config.penalty_target
        share = self._counts[:, None, None, None] / (self._count * norm[0].numel())
        self.total += (share * excess.square()).sum()
        return s * torch.where(norm > 0, 2 * share * excess / norm, 0.0)


def _entropy(weights: Weights, kept: Saved, chunk: _Chunk) -> Tensor:
    """The chunk's summed cross-entropy."""
    logits = F.linear(kept.features, weights.linear, weights.offset)
    return (F.cross_entropy(logits, chunk.labels, reduction="none") * chunk.counts).sum()
