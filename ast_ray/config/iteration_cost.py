"""The arithmetic of one iteration, method by method, in forward passes of one image (`MethodInfo.forwards`).

Each function takes the settings, the number of classes and the real images per class. A backward pass counts two
forward passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ast_ray.config.settings import Config


def gradient_forwards(config: Config, classes: int, per_class: float) -> float:
    """Count DC: real and synthetic gradients, and the network's epochs on the set after all but the last update."""
    settings, images = config.gradient_matching, config.distill.ipc * classes
    updates = settings.updates or config.distill.ipc
    trained = 3 * images * (settings.epochs or max(1, 500 // config.distill.ipc)) * (updates - 1) / updates
    return 3 * min(settings.real_batch, per_class) * classes + 12 * images + trained


def distribution_forwards(config: Config, classes: int, per_class: float) -> float:
    """Count DM: real images forward, synthetic ones forward and backward."""
    return min(config.distribution_matching.real_batch, per_class) * classes + 3 * config.distill.ipc * classes


def alignment_forwards(config: Config, classes: int, per_class: float) -> float:
    """Count CAFE with ten epochs of training per update, its least."""
    settings, images = config.feature_alignment, config.distill.ipc * classes
    watched = min(settings.query_batch, per_class) * classes
    return min(settings.real_batch, per_class) * classes + 3 * images + watched + 10 * (3 * images + watched)


def regression_forwards(config: Config, classes: int, per_class: float) -> float:
    """Count FRePo: real images forward, the set forward and backward, and the member's step on it."""
    settings, images = config.feature_regression, config.distill.ipc * classes
    real = min(settings.real_batch, per_class * classes)
    return real + 3 * images * (2 if settings.flip else 1) + 3 * min(images, 1000)
