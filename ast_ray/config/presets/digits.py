"""The demo: scikit-learn's digits."""

from __future__ import annotations

from ast_ray.config.settings import (
    Config,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    ExpertConfig,
    NetworkConfig,
)


def digits() -> Config:
    """1,797 handwritten digits of 8x8 pixels, 1 image per class, minutes on two cores.

    Values are our own, chosen on the validation split; accuracy has settled after about 100 iterations. Augmentation
    leaves out colour (grey images) and flips (a mirrored digit is another one or none).
    """
    augmentation = "crop_scale_rotate"
    return Config(
        preset="digits",
        data=DataConfig(source="digits", validation_size=297),
        network=NetworkConfig(width=32, depth=2),
        expert=ExpertConfig(
            count=5, epochs=20, lr=0.01, batch_size=64, lr_decay_epoch=10, penalty_weight=0.1, augmentation=augmentation
        ),
        distill=DistillConfig(
            ipc=1,
            iterations=120,
            syn_steps=25,
            expert_epochs=2,
            max_start_epoch=5,
            rho=0.01,
            augmentation=augmentation,
            validate_every=40,
        ),
        evaluate=EvaluateConfig(full_epochs=30),
    )
