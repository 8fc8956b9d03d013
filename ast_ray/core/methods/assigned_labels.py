"""Labels that an expert assigns to the synthetic images (TESLA, arXiv 2211.10586: soft label assignment)."""

from __future__ import annotations

import torch
from torch import Tensor

from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, call
from ast_ray.core.precision import Precision, autocast
from ast_ray.errors import DivergenceError


@torch.no_grad()
def assigned_labels(
    network: Network, theta: Tensor, images: Tensor, *, precision: Precision = "float32", batch_size: int = 500
) -> Tensor:
    """Return the probabilities [S, K] that the network at theta [P] gives the images [S, C, H, W], without a gradient.

    Softmax of the logits, images as they are: no augmentation, no dropout. TESLA assigns them anew in every iteration,
    theta being the segment's target theta*_{t+M}, and gives them to `core.bilevel.student.Student` as its targets.

    Args:
        network: its layout is read, its own weights are not; batch_size: images at once.

    Raises:
        DivergenceError: a probability is not finite.
    """
    spec, parts = FlatSpec.of(network), list[Tensor]()
    for part in images.split(batch_size):
        with autocast(precision, theta.device):
            logits = call(network, spec, theta, part)
        parts.append(torch.softmax(logits.to(theta.dtype), 1))
    found = torch.cat(parts)
    if not torch.isfinite(found).all():
        raise DivergenceError("labels assigned by an expert are not finite; train smoother experts (expert.lr)")
    return found
