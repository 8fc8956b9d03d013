"""The exponential moving average of the synthetic images (FTD, arXiv 2211.11004).

After every update avg <- d*avg + (1-d)*s, beginning at the initial images. The student's learning rate is not averaged:
the averaged images are evaluated with the present alpha.
"""

from __future__ import annotations

from torch import Tensor

_MOST_OF_THE_START = 0.1
"""Weight of the initial images in an average from which on it is not published."""


def begin_average(images: Tensor) -> Tensor:
    """Return the average before the first update: a copy of the initial images [S, C, H, W]."""
    return images.detach().clone()


def updated_average(average: Tensor, images: Tensor, decay: float) -> Tensor:
    """Return d*average + (1-d)*images [S, C, H, W]; with d = 0 the images themselves.

    >>> import torch
    >>> average = begin_average(torch.zeros(1))
    >>> for _ in range(2):
    ...     average = updated_average(average, torch.ones(1), 0.9)
    >>> round(float(average), 6)
    0.19
    """
    return decay * average + (1 - decay) * images


def start_weight(decay: float, iterations: int) -> float:
    """Return the weight d**iterations that the initial images have in the average after so many updates."""
    return float(decay**iterations)


def publishes_average(decay: float, iterations: int) -> bool:
    """Tell whether the average is published in place of the images: d is not 0 and the start weighs less than 0.1.

    FTD's published value at CIFAR-10 ipc 1 is of an average (d = 0.9999, 5,000 iterations) in which the initial real
    images have 0.61 of the weight: mostly its start. Such an average says little about what was distilled, so the
    images as they are get published there.

    >>> [publishes_average(d, 5000) for d in (0.9999, 0.9995, 0.999, 0.0)]
    [False, True, True, False]
    """
    return decay > 0 and start_weight(decay, iterations) < _MOST_OF_THE_START
