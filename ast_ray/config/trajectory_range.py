"""How far into an expert's trajectory matching can reach: epoch T+ - 1 + M."""

from __future__ import annotations

import dataclasses

from ast_ray.config.settings import Config


def reachable_epoch(config: Config) -> int:
    """The last expert epoch a distillation with these settings looks at while matching."""
    return config.distill.max_start_epoch - 1 + config.distill.expert_epochs


def trained(config: Config) -> Config:
    """The settings with ``expert.epochs`` as it is trained, which is what identifies the experts.

    With ``expert.reachable_only`` that is the reachable epoch; experts are then those of a run that asks for as many.
    """
    if not config.expert.reachable_only:
        return config
    epochs = min(config.expert.epochs, reachable_epoch(config))
    return dataclasses.replace(config, expert=dataclasses.replace(config.expert, epochs=epochs, reachable_only=False))


def unused_epochs(config: Config) -> str | None:
    """What to say of epochs that are trained and never matched; None when there are none."""
    reach, epochs = reachable_epoch(config), trained(config).expert.epochs
    if epochs <= reach:
        return None
    return (
        f"expert epochs {reach + 1}..{epochs} are never matched (T+ - 1 + M = {reach}); only representative images are "
        "chosen with the last one; expert.reachable_only = true trains none of them"
    )
