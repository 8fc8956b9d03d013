"""Random choices of a matched segment: the expert, the start epoch, and the streams of everything else it draws."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods import base
from ast_ray.core.methods.ast import balance
from ast_ray.core.rng import stream


@dataclass(frozen=True)
class Draw(base.Draw):
    """One of an iteration's segments: its place 0..W-1, whose trajectory, from which epoch, and the balance nu."""

    expert_id: int
    start_epoch: int
    nu: float


def draw_start_epoch(config: DistillConfig, last: int, generator: torch.Generator) -> int:
    """Draw a start epoch from 0..T+ - 1.

    With ``distill.start_epoch_window`` within +-window of the last one (the alternative rejected in Sec. IV-C2).
    """
    low, high = 0, config.max_start_epoch - 1
    if config.start_epoch_window and last >= 0:
        low, high = max(low, last - config.start_epoch_window), min(high, last + config.start_epoch_window)
    return low + int(torch.randint(high - low + 1, (), generator=generator))


def segment_stream(seed: int, iteration: int, role: str, place: int) -> torch.Generator:
    """Return the random stream of a segment's ``role``.

    The first segment's streams carry no place: what one segment draws is what the first of W draws.
    """
    name: tuple[str | int, ...] = ("distill", iteration, role)
    return stream(seed, *name, *([place] if place else []))


def draw_where(
    config: DistillConfig, seed: int, experts: int, iteration: int, place: int, last: int
) -> tuple[int, int]:
    """Draw expert and start epoch of the segment at ``place``, ``last`` being the previous first start epoch."""
    choice = segment_stream(seed, iteration, "start", place)
    expert_id = int(torch.randint(experts, (), generator=choice))
    return expert_id, draw_start_epoch(config, last, choice)


def balance_of(config: DistillConfig, start_epoch: int) -> float:
    """Return nu of a start epoch (Eq. 20); 1 where the inner loss is not balanced."""
    if not config.balanced_inner_loss:
        return 1.0
    return balance(start_epoch, config.max_start_epoch, vartheta=config.vartheta, log_base=config.log_base)
