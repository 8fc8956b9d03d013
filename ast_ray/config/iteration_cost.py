"""The cost of one iteration, method by method: arithmetic (`MethodInfo.forwards`), and images held (`MethodInfo.held`).

Arithmetic is counted in forward passes of one image; a backward pass counts two of them. Images held are those whose
activations one graph keeps at once; a double backward keeps about four times as much. Each function takes the settings,
the number of classes and the real images per class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ast_ray.config.settings import Config

_KEPT_LAYERS = 12  # tensors of a ConvNet's three blocks that a graph keeps per image; a forward pass holds two of them


def gradient_forwards(config: Config, classes: int, per_class: float) -> float:
    """Count DC: real and synthetic gradients, and the network's epochs on the set after all but the last update."""
    settings, ipc = config.gradient_matching, config.distill.ipc
    images, updates = ipc * classes, settings.updates_at(ipc)
    trained = 3 * images * settings.epochs_at(ipc) * (updates - 1) / updates
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


def gradient_held(config: Config, classes: int, per_class: float) -> float:
    """Count DC's images: those of one class, real ones in a backward pass or synthetic ones in a double one."""
    settings, ipc = config.gradient_matching, config.distill.ipc
    trained = min(256, ipc * classes) if settings.updates_at(ipc) > 1 else 0
    return max(min(settings.real_batch, per_class), 4 * ipc, trained)


def distribution_held(config: Config, classes: int, per_class: float) -> float:
    """Count DM's images: the synthetic ones of one class; two layers at a time of the real ones, without a graph."""
    layers = 2 * min(config.distribution_matching.real_batch, per_class) / _KEPT_LAYERS
    return max(config.distill.ipc, layers)


def alignment_held(config: Config, classes: int, per_class: float) -> float:
    """Count CAFE's images: the whole set; real ones of one class with all their layers."""
    settings = config.feature_alignment
    return max(config.distill.ipc * classes, min(settings.real_batch, per_class))


def regression_held(config: Config, classes: int, per_class: float) -> float:
    """Count FRePo's images: the whole set, twice with ``flip``; two layers at a time of the real ones."""
    settings = config.feature_regression
    layers = 2 * min(settings.real_batch, per_class * classes) / _KEPT_LAYERS
    return max(config.distill.ipc * classes * (2 if settings.flip else 1), layers)
