"""Group networks that one task trains together, experts or evaluated ones: fixed ranges of their numbers.

What is trained beside a network may move its last bits, so a range is the same whatever is missing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ast_ray.config.work_settings import ComputeConfig

MOST = 8  # a first choice; what a GPU gains from more or fewer is still to be measured
_SHARE = 0.5  # of a GPU's memory


def in_ranges(numbers: Iterable[int], together: int) -> list[tuple[int, ...]]:
    """Put numbers into the ranges 0..k-1, k..2k-1 and so on, of k = ``together``; ranges without any are left out.

    >>> in_ranges([0, 1, 4, 7], 3)
    [(0, 1), (4,), (7,)]
    """
    found: dict[int, list[int]] = {}
    for number in numbers:
        found.setdefault(number // together, []).append(number)
    return [tuple(members) for members in found.values()]


def fixed_range(numbers: Sequence[int], together: int, count: int) -> tuple[int, ...]:
    """Return all numbers below ``count`` of the one range of ``together`` that holds ``numbers``.

    Raises:
        ValueError: no number, or numbers of several ranges, or none of the numbers 0..count-1.

    >>> fixed_range([4], 3, count=5)
    (3, 4)
    """
    places = {number // together for number in numbers}
    if len(places) != 1 or not 0 <= min(numbers) <= max(numbers) < count:
        raise ValueError(f"numbers {tuple(numbers)} are not those of one range of {together} below {count}")
    first = places.pop() * together
    return tuple(range(first, min(first + together, count)))


def that_fit(compute: ComputeConfig, network_bytes: int, device: torch.device) -> int:
    """Return how many networks of ``network_bytes`` in a training step share a task's part of a GPU, at least one.

    By the GPU's whole memory, never by what is left of it, so that a resumed run does as an undisturbed one.
    """
    room = _SHARE * torch.cuda.get_device_properties(device).total_memory * min(1.0, compute.gpus_per_task or 1)
    return max(1, min(MOST, int(room // network_bytes)))
