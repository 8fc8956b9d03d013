"""DD-Ranking's scores (arXiv 2505.13300; the package ``ddranking`` 0.2.0): what the images add by themselves.

Accuracies are fractions in [0, 1] of networks trained on: the synthetic set, random real images of the same number, the
full real set. Both scores lie in [0, 1]; (1 - e^-1) / (e - e^-1) = 0.269 is ARS at no improvement over random images.
"""

from __future__ import annotations

import math


def improvement_over_random(synthetic: float, random: float) -> float:
    """IOR: accuracy on the synthetic set minus accuracy on random images, same protocol; higher is better."""
    return synthetic - random


def hard_label_recovery(full: float, synthetic: float) -> float:
    """HLR: accuracy on the full set minus accuracy on the synthetic set, both with hard labels; lower is better."""
    return full - synthetic


def label_robust_score(ior: float, hlr: float, *, weight: float = 0.5) -> float:
    """LRS = (e^a - e^-1) / (e - e^-1) with a = w IOR - (1 - w) HLR.

    >>> round(label_robust_score(ior=0.2, hlr=0.3), 4)
    0.2482
    """
    return _to_unit(weight * ior - (1 - weight) * hlr)


def augmentation_robust_score(with_augmentation: float, without_augmentation: float, *, weight: float = 0.5) -> float:
    """ARS: the same map of b = g IOR_aug + (1 - g) IOR_plain: improvements over random, augmented and not."""
    return _to_unit(weight * with_augmentation + (1 - weight) * without_augmentation)


def _to_unit(value: float) -> float:
    """Map [-1, 1] to [0, 1] by the exponential."""
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))
