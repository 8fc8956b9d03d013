"""The balanced inner-loop coefficient nu (Sec. IV-C2, Eq. 20)."""

from __future__ import annotations

import math


def balance(start_epoch: int, max_start_epoch: int, *, vartheta: float = 8.0, log_base: float = 0.0) -> float:
    """Return nu for a start epoch t, with middle = T+/2.

    nu = log(|t - middle| + vartheta) for t >= middle, and 1/log(|middle - t| + vartheta) below it: late starts, where
    the expert moves little and gradients are small, get a larger inner loss. ``log_base`` 0 is e.

    >>> round(balance(10, 20), 4) == round(math.log(8), 4)
    True
    """
    middle = max_start_epoch / 2
    value = math.log(abs(start_epoch - middle) + vartheta)
    if log_base:
        value /= math.log(log_base)
    return value if start_epoch >= middle else 1 / value
