"""Presets on top of presets: the baselines that are AST with switches turned."""

from __future__ import annotations

import dataclasses

from ast_ray.config.settings import Config


def as_mtt(config: Config) -> Config:
    """Matching Training Trajectories: every AST component off, the same budget.

    Experts: plain SGD at 0.01 without weight decay or decay of the rate (MTT's buffer). Student: random real start,
    nu = 1, matched at the end only, no perturbation. Iterations, N, M, T+, ipc and learning rates stay as they are, but
    for ``run.mtt_lr_lr``: alpha's gradient grows with the inverse of the distance the experts cover.
    """
    expert = dataclasses.replace(
        config.expert,
        optimizer="sgd",
        lr=0.01,
        momentum=0.0,
        weight_decay=0.0,
        lr_decay_epoch=0,
        clip_schedule="constant",
        penalty_weight=0.0,
        sharpness_rho=0.0,
        sharpness_alpha=0.0,
    )
    distill = dataclasses.replace(
        config.distill,
        init="random-real",
        init_clusters=0,
        balanced_inner_loss=False,
        beta_strategy="final",
        rho=0.0,
        student_momentum=0.0,
        lr_lr=config.run.mtt_lr_lr or config.distill.lr_lr,
        dropout=0.0,
        start_epoch_window=0,
    )
    return dataclasses.replace(config, expert=expert, distill=distill)
