"""The two scales: the paper's cells on a GPU, and a small one that two CPU cores carry. The same code runs both."""

from __future__ import annotations

from ast_ray.config import Config, apply_overrides
from ast_ray.config.presets import method_config, preset
from benchmarks.reproduce.components import Changes
from benchmarks.reproduce.studies import DIGITS, MEDIUM, PEERS_1, PEERS_10, SMALL

SCALES = ("cpu", "paper")

# The rows were made with the published update of pixels and alpha, and with every epoch trained.
_PUBLISHED_OUTER: Changes = {
    "expert.reachable_only": False,
    "distill.outer": "sgd",
    "distill.lr_img": 100.0,
    "distill.student_lr": 0.01,
}

# Chosen in one-seed trials before the cells in the results file (docs/reproduce.md says what was tried and seen).
_CPU: dict[str, tuple[str, Changes]] = {
    SMALL: (
        "cifar10-cpu",
        {
            "data.train_size": 2000,
            "data.validation_size": 1000,
            "data.statistics": "cifar10",
            "network.width": 16,
            "expert.count": 3,
            "expert.epochs": 6,
            "expert.lr": 0.003,
            "expert.batch_size": 64,
            "expert.penalty_weight": 0.1,
            "expert.lr_decay_epoch": 0,
            "distill.iterations": 100,
            "distill.syn_steps": 10,
            "distill.max_start_epoch": 5,
            **_PUBLISHED_OUTER,
            "distill.lr_lr": 1e-6,
            "run.mtt_lr_lr": 1e-7,
        },
    ),
    # The small one with twice the width and images, three times the iterations, and steps per epoch as they were: no
    # value was tried out on it.
    MEDIUM: (
        "cifar10-cpu",
        {
            "data.train_size": 4000,
            "data.validation_size": 1000,
            "data.statistics": "cifar10",
            "network.width": 32,
            "expert.count": 3,
            "expert.epochs": 6,
            "expert.lr": 0.003,
            "expert.batch_size": 128,
            "expert.penalty_weight": 0.1,
            "expert.lr_decay_epoch": 0,
            "distill.iterations": 300,
            "distill.syn_steps": 10,
            "distill.max_start_epoch": 5,
            **_PUBLISHED_OUTER,
            "distill.lr_lr": 1e-6,
            "run.mtt_lr_lr": 1e-7,
        },
    ),
    DIGITS: (
        "digits",
        {
            "network.width": 16,
            "expert.count": 3,
            "expert.epochs": 8,
            "distill.iterations": 60,
            "distill.syn_steps": 15,
            **_PUBLISHED_OUTER,
            "distill.lr_img": 10.0,
            "distill.lr_lr": 1e-5,
        },
    ),
}
# The medium one with the update that needs no rate of its own, for methods that differ in all else.
_SCALE_FREE: Changes = {"distill.outer": "normalized", "distill.student_lr": 0.0, "expert.reachable_only": True}
for _base, _ipc in ((PEERS_1, 1), (PEERS_10, 10)):
    _name, _changes = _CPU[MEDIUM]
    _CPU[_base] = (_name, {**_changes, **_SCALE_FREE, "distill.ipc": _ipc})
# One validation, at the end, decides nothing: there is one candidate. Three networks, 150 passes of one step each.
_CPU_COMMON: Changes = {
    "distill.validate_every": 0,
    "distill.validate_networks": 1,
    "distill.checkpoint_every": 25,
    "evaluate.networks": 3,
    "evaluate.passes": 150,
    "evaluate.lr_decay_pass": 100,
    "evaluate.full_epochs": 10,
    "evaluate.full_networks": 1,
}
# Full-data rows of all seeds and commits are trained alike: for the epochs the settings say.
_COMMON: Changes = {"evaluate.full_steps": 0}


def base_config(scale: str, base: str, method: str) -> Config:
    """Settings of a method on a base, before a study changes them.

    At the paper's scale MTT has its own published row; at the small one it is AST with every switch off.
    """
    if scale == "paper":
        config = preset(base if method == "ast" else f"mtt-{base}")
        return apply_overrides(config, {"expert.reachable_only": False, **_COMMON})
    name, changes = _CPU[base]
    config = apply_overrides(preset(name), {**changes, **_CPU_COMMON, **_COMMON})
    return method_config(apply_overrides(config, {"preset": base}), method)


def described(config: Config) -> str:
    """A base in one sentence: data, network, experts, student, evaluation."""
    data, expert, distill, evaluate = config.data, config.expert, config.distill, config.evaluate
    images = f"{data.train_size:,} training images" if data.train_size else "all training images"
    experts = f"{expert.count} experts" if expert.count > 1 else "1 expert"
    rates = f"lr_img {distill.lr_img:g}, lr_lr {distill.lr_lr:g}, alpha_0 {distill.student_lr:g}"
    if distill.outer == "normalized":
        rates = f"normalized steps of {distill.step_img:g} and {distill.step_lr:g}, alpha_0 chosen"
    rates += f", rho {distill.rho:g}"
    return (
        f"{data.source}, {images}, width {config.network.width}, ipc {distill.ipc}; {experts} of "
        f"{expert.epochs} epochs at {expert.lr:g}, momentum {expert.momentum:g}, batch {expert.batch_size}; "
        f"{distill.iterations} iterations, N {distill.syn_steps}, M {distill.expert_epochs}, T+ "
        f"{distill.max_start_epoch}, {rates}; evaluation with {evaluate.networks} networks of {evaluate.passes} passes"
    )
