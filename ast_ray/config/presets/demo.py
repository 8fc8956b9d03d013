"""Presets of our own: the demo on scikit-learn's digits, and CIFAR-10 at a size that two cores can carry."""

from __future__ import annotations

from ast_ray.config.settings import Config, DataConfig, DistillConfig, EvaluateConfig, ExpertConfig, NetworkConfig


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


def cifar10_cpu() -> Config:
    """CIFAR-10 for two cores: whole-resolution images, 2,560 for training, width 32, full test set.

    Values are our own, tried at this size on the validation split: N 15, M 2, T+ 5; experts at 0.01 with momentum 0.9;
    rho 0.01 (0.1 drowns the match). Outer steps and alpha_0 are the defaults, which carry no scale of the cell. The
    published update (distill.outer = sgd) works here with lr_img 100, alpha_0 0.01 and lr_lr 1e-6, for MTT's experts
    1e-7: above that alpha turns negative within a few iterations.
    """
    return Config(
        preset="cifar10-cpu",
        data=DataConfig(source="cifar10", train_size=2560, validation_size=1000),
        network=NetworkConfig(width=32),
        expert=ExpertConfig(count=4, epochs=12, lr=0.01, lr_decay_epoch=6),
        distill=DistillConfig(
            ipc=1,
            iterations=400,
            syn_steps=15,
            expert_epochs=2,
            max_start_epoch=5,
            rho=0.01,
            validate_every=100,
        ),
    )
