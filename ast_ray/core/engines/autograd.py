"""The interface of the engines, and the reference engine: autograd."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, call
from ast_ray.core.precision import Precision, autocast


@dataclass(frozen=True)
class StepData:
    """The data of one student step: augmented images [B, C, H, W], labels, feature mask [B, F] or None, and nu.

    Labels are classes, int64 [B], or probabilities [B, K] whose rows add up to 1. Nu is a number, or a 0-dim tensor
    where a captured graph reads it.
    """

    images: Tensor
    labels: Tensor
    feature_mask: Tensor | None
    nu: float | Tensor


class Engine(Protocol):
    """Gradient of a student step and the derivative of that gradient."""

    def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
        """Return g = nu * grad CE [P] at theta [P], and what `derivative` needs if ``keep``, else None.

        What is kept stays valid until the next call that keeps in the same ``slot``.
        """

    def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives of <g, toward> with respect to theta [P] and the images [B, C, H, W]."""

    def image_derivative(self, kept: Any, toward: Tensor) -> Tensor:
        """Return the second of the two derivatives alone, in place of `derivative`."""


@dataclass(frozen=True)
class AutogradEngine:
    """Torch's double backward, for any network; the network computes in ``precision``."""

    network: Network
    spec: FlatSpec
    precision: Precision = "float32"

    def loss(self, theta: Tensor, data: StepData) -> Tensor:
        """Nu * CE(net(theta, images), labels), a scalar (Eq. 21)."""
        with autocast(self.precision, theta.device):
            logits = call(self.network, self.spec, theta, data.images, data.feature_mask)
        return data.nu * F.cross_entropy(logits.to(theta.dtype), data.labels)

    def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
        """See `Engine`; keeps the step's autograd graph."""
        theta, data = theta.detach().requires_grad_(), replace(data, images=data.images.detach().requires_grad_(keep))
        (gradient,) = torch.autograd.grad(self.loss(theta, data), theta, create_graph=keep)
        return gradient.detach(), (gradient, theta, data.images) if keep else None

    def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
        """See `Engine`."""
        gradient, theta, images = kept
        through_theta, through_images = torch.autograd.grad(gradient, (theta, images), grad_outputs=toward)
        return through_theta, through_images

    def image_derivative(self, kept: Any, toward: Tensor) -> Tensor:
        """See `Engine`."""
        gradient, _, images = kept
        through_images: Tensor = torch.autograd.grad(gradient, images, grad_outputs=toward)[0]
        return through_images


@dataclass(frozen=True)
class RoomyEngine:
    """An engine on a machine that holds every step's intermediates at once: `direct` need not compute a step twice."""

    inner: Engine

    def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
        """See `Engine`."""
        return self.inner.gradient(theta, data, keep=keep, slot=slot)

    def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
        """See `Engine`."""
        return self.inner.derivative(kept, toward)

    def image_derivative(self, kept: Any, toward: Tensor) -> Tensor:
        """See `Engine`."""
        return self.inner.image_derivative(kept, toward)
