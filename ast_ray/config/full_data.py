"""The length of the full-data row's training: epochs, raised until enough optimizer steps are taken."""

from __future__ import annotations

from ast_ray.config.settings import Config


def steps_per_epoch(config: Config, images: int) -> int:
    """Return the optimizer steps of one epoch over ``images`` training images, in batches of ``expert.batch_size``.

    >>> steps_per_epoch(Config(), 257)
    2
    """
    return -(-images // config.expert.batch_size)


def full_epochs(config: Config, images: int) -> int:
    """Return the epochs of the full-data row on ``images`` training images.

    That is ``evaluate.full_epochs``, or as many as take ``evaluate.full_steps`` steps where that is more: a small set
    gives few steps per epoch and would stay undertrained.

    >>> full_epochs(Config(), 50_000), full_epochs(Config(), 2560), full_epochs(Config(), 45)
    (50, 100, 1000)
    """
    return max(config.evaluate.full_epochs, -(-config.evaluate.full_steps // steps_per_epoch(config, images)))
