"""Losses between class means of features: DM's distance, CAFE's layers and its discrimination loss.

For real images x of class c and synthetic ones s, and a map f of the network:

    A_f = sum_c || mean f(x_c) - mean f(s_c) ||^2        (summed over channels and positions)

DM takes f = the features before the linear layer (Zhao and Bilen, WACV 2023), CAFE every map of `Network.layers` (Wang
et al., CVPR 2022). Each is a sum over classes: groups of classes add up, in losses as in gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_EARLY_BLOCKS, _EARLY_WEIGHT = 2, 0.1


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    """Average features [n, ...] over each class, for labels int64 [n] in blocks: [G, ...], classes in their order.

    Raises:
        ValueError: the images of a class are not in one block.
    """
    classes, counts = torch.unique_consecutive(labels, return_counts=True)
    if len(classes) != len(torch.unique(classes)):
        raise ValueError("class means need the images of each class in one block")
    return torch.stack([block.mean(0) for block in features.split(counts.tolist())])


def mean_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Sum the squared distances between class means [G, ...], over classes and entries; a 0-dim tensor."""
    return (real - synthetic).square().sum()


def mean_scale(real: Tensor) -> Tensor:
    """Return sum_c || mean f(x_c) ||^2 of class means [G, ...]: the distance to features that are zero."""
    return real.square().sum()


def layer_weights(maps: int) -> tuple[float, ...]:
    """Return CAFE's weight of each of the ``maps`` of `Network.layers`: the blocks' ReLUs, then the last pooling.

    The first two blocks count 0.1, later ones 1, and the last map 2, being matched once as a map and once as the
    features. Published for three blocks; other numbers of blocks are our reading.

    >>> layer_weights(4)
    (0.1, 0.1, 1.0, 2.0)
    """
    blocks = maps - 1
    early = min(blocks, _EARLY_BLOCKS)
    return (_EARLY_WEIGHT,) * early + (1.0,) * (blocks - early) + (2.0,)


def discrimination_loss(real: Tensor, labels: Tensor, synthetic_means: Tensor, *, weight: float = 0.01) -> Tensor:
    """Return CAFE's loss of telling real images apart by the synthetic class means; a 0-dim tensor.

    The logits are dot products: ``weight`` * sum over real images of CE(f(x) M^T, y), a sum and not a mean.

    Args:
        real: features [n, F] of real images; labels: their classes, int64 [n], rows of ``synthetic_means``.
        synthetic_means: M [K, F], one row per class.
    """
    return weight * F.cross_entropy(real @ synthetic_means.T, labels, reduction="sum")
