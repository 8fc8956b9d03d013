"""From a distillation's images to a SyntheticSet that says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ast_ray.config.loading import to_dict
from ast_ray.config.ownership import published
from ast_ray.config.settings import Config
from ast_ray.core.synthetic_set import SyntheticSet, TargetLoss
from ast_ray.data.real import RealData
from ast_ray.telemetry.provenance import environment


def synthetic_set(
    config: Config,
    data: RealData,
    images: Tensor,
    labels: Tensor,
    student_lr: float,
    about: Mapping[str, Any],
    targets: Tensor | None = None,
    target_loss: TargetLoss = "ce",
    *,
    method: str = "",
) -> SyntheticSet:
    """Attach preprocessing, augmentation, class names, settings and environment to images [S, C, H, W].

    ``targets`` [S, K] are soft labels, None for hard ``labels`` alone; ``target_loss`` says how they are trained on.
    Where the work ran, how it was found and when are left out: the same settings give the same bytes everywhere.
    """
    preprocessing = data.preprocessing
    settings = published(to_dict(config), method)
    return SyntheticSet(
        images=images.detach().cpu(),
        labels=labels.cpu(),
        student_lr=student_lr,
        class_names=data.class_names,
        augmentation=config.distill.augmentation,
        siamese=config.distill.siamese,
        mean=preprocessing.mean,
        std=preprocessing.std,
        whitening=preprocessing.whitening,
        provenance={**about, "data_id": data.data_id, "config": settings, "environment": environment()},
        targets=None if targets is None else targets.detach().cpu(),
        target_loss=target_loss,
    )
