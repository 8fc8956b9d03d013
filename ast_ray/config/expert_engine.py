"""Which engine trains the experts: decided from what identifies them and the machine alone, never from what is free.

So every worker, and a successor after a crash, decides alike. ``docs/performance.md`` holds the measurements.
"""

from __future__ import annotations

from typing import Literal

from ast_ray.config.engine import Machine, check_precision, forward_work, not_compiled
from ast_ray.config.settings import Config
from ast_ray.config.trajectory_range import trained
from ast_ray.errors import ConfigError, Problem

ExpertEngine = Literal["eager", "compiled"]

_PLAIN, _PENALTY = 3, 6  # convolutions per layer and image, in forward passes
# Compiling, half a minute to a minute, pays from this much arithmetic of one expert on: about five minutes of autograd
# on two cores, twenty seconds on an H200, where the experts that follow find the compiled code.
_WORTH_COMPILING = {"cpu": 1e13, "cuda": 1e14}


def choose_expert_engine(
    config: Config, image_shape: tuple[int, int, int], images: int, machine: Machine
) -> ExpertEngine:
    """Resolve ``expert.expert_engine`` for ``images`` training images of shape (C, H, W).

    Raises:
        ConfigError: an engine or precision that this network or machine does not have.
    """
    expert = config.expert
    check_precision("expert.expert_precision", expert.expert_precision, machine)
    asked, reason = expert.expert_engine, not_compiled(config, machine)
    if asked == "compiled" and reason:
        raise ConfigError([Problem("expert.expert_engine", asked, reason)])
    if asked != "auto":
        return asked
    if reason or config.compute.experts_together > 1:
        return "eager"
    if machine.device == "cuda" and not expert.penalty_weight:
        return "eager"  # there the compiled step saves time only with the penalty
    passes = _PLAIN + (_PENALTY if expert.penalty_weight else 0)
    work = forward_work(config, image_shape) * images * trained(config).expert.epochs * passes
    return "compiled" if work >= _WORTH_COMPILING[machine.device] else "eager"
