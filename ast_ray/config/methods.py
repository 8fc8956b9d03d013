"""The distillation methods: one record each. What they compute is in `core.methods`, in the module that a record names.

Nothing here imports torch or the settings at run time, so settings, reports and checks can read it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ast_ray.config import iteration_cost
from ast_ray.config.own_methods import load_own_methods
from ast_ray.errors import suggestion

if TYPE_CHECKING:
    from ast_ray.config.settings import Config

OF_EVERY_METHOD = ("ipc", "iterations", "init", "outer", "step_img", "outer_momentum", "augmentation", "siamese")

"""Settings of ``distill`` that every method without experts reads."""


@dataclass(frozen=True)
class MethodInfo:
    """The torch-free half of a distillation method.

    Attributes:
        name: as in ``run.methods``; title: as tables print it; summary: one line for `ast-ray methods`.
        paper: where it was published; family: what is matched.
        opens: module of `core.methods`, or the importable name of one elsewhere, whose ``open_problem(sources)``
            returns the problem; ``module:function`` names another function.
        settings: turns the run's settings into the method's: AST's as given, others with switches turned.
        needs_experts: whether recorded trajectories are matched; else real images are drawn.
        learns_lr: whether alpha is learned with the images; else ``evaluate.real_lr`` is published.
        target_loss: how networks are trained on the labels that are learned (``mse``) or assigned (``ce``,
            probabilities) with the images; see `core.synthetic_set.SyntheticSet`.
        section: section of the settings that this method alone reads; empty = none.
        distill: settings of ``distill`` that decide the method's bytes; None = all of them.
        forwards: arithmetic of one iteration in forward passes of one image, from the settings, the number of classes
            and the real images per class; None for methods whose iteration is `distill.syn_steps` student steps.
        held: images whose activations one graph keeps at once, from the same; None as for ``forwards``.
        color: number of the method's color in charts.
    """

    name: str
    title: str
    summary: str
    paper: str
    family: str
    opens: str
    settings: Callable[[Config], Config]
    needs_experts: bool = True
    learns_lr: bool = True
    target_loss: Literal["ce", "mse"] = "ce"
    section: str = ""
    distill: tuple[str, ...] | None = None
    forwards: Callable[[Config, int, float], float] | None = None
    held: Callable[[Config, int, float], float] | None = None
    color: int = 2


def as_ast(config: Config) -> Config:
    """Aligned Student Trajectories: the settings as they are given."""
    return config


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
        image_average=0.0,
        gradient="auto" if config.distill.gradient == "direct" else config.distill.gradient,
    )
    return dataclasses.replace(config, expert=expert, distill=distill)


START_WEIGHT = 0.08
"""Weight of the initial images at the end of FTD's automatic average: that of 0.9995 after 5,000 iterations."""


def as_ftd(config: Config) -> Config:
    """Flat Trajectory Distillation: MTT, with sharpness-aware experts and averaged images."""
    settings, config = config.flat_trajectories, as_mtt(config)
    average = settings.average or START_WEIGHT ** (1 / config.distill.iterations)
    expert = dataclasses.replace(config.expert, sharpness_rho=settings.rho, sharpness_alpha=settings.alpha)
    return dataclasses.replace(
        config, expert=expert, distill=dataclasses.replace(config.distill, image_average=average)
    )


def as_tesla(config: Config) -> Config:
    """TESLA: MTT with the direct part of the gradient."""
    config = as_mtt(config)
    return dataclasses.replace(config, distill=dataclasses.replace(config.distill, gradient="direct"))


def _of_real_images(config: Config, init: Literal["random-real", "noise"]) -> Config:
    """Switch off what experts bring: one unit per iteration, and a start that no expert chooses."""
    return dataclasses.replace(
        config, distill=dataclasses.replace(config.distill, init=init, init_clusters=0, segments=1)
    )


def as_dc(config: Config) -> Config:
    """Dataset Condensation: gradients matched class by class, from noise unless ``init`` says else."""
    given = config.gradient_matching.init
    return _of_real_images(config, "noise" if given == "auto" else given)


def as_dsa(config: Config) -> Config:
    """Differentiable Siamese Augmentation: DC with ``distill.augmentation`` shared, from random real images."""
    given = config.gradient_matching.init
    return _of_real_images(config, "random-real" if given == "auto" else given)


def as_dm(config: Config) -> Config:
    """Distribution Matching: mean features under random networks, ``distill.augmentation`` shared."""
    return _of_real_images(config, config.distribution_matching.init)


def as_cafe(config: Config) -> Config:
    """CAFE: features of every layer aligned."""
    return _of_real_images(config, config.feature_alignment.init)


def as_frepo(config: Config) -> Config:
    """FRePo: ridge regression on features, with learned labels."""
    return _of_real_images(config, config.feature_regression.init)


METHODS: dict[str, MethodInfo] = {}
"""All methods by name, AST first; tables have them in reverse. `register` adds to them."""


def register(info: MethodInfo) -> None:
    """Add a method; one that is registered again, as by a module that is run and imported, replaces itself.

    Raises:
        ValueError: another method has the name.
    """
    if info.name in METHODS and METHODS[info.name].opens != info.opens:
        raise ValueError(f"method {info.name!r} is there already")
    METHODS[info.name] = info


def own_sections() -> set[str]:
    """Return the sections of the settings that belong to methods."""
    return {info.section for info in METHODS.values()} - {""}


def others_sections(method: str) -> set[str]:
    """Return the sections of the settings that belong to other methods alone."""
    return own_sections() - {method_info(method).section}


def matched_methods(config: Config) -> list[str]:
    """Return the methods of a run that match experts."""
    return [method for method in config.run.methods if method_info(method).needs_experts]


def method_info(name: str) -> MethodInfo:
    """Return a method's record.

    A process that does not know the name looks once more at the modules that its environment names: a worker of Ray
    meets a method outside of the package here for the first time.

    Raises:
        ValueError: no method has the name; the message has the nearest one. ConfigError: see `load_own_methods`.
    """
    if name not in METHODS:
        load_own_methods()
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}{suggestion(name, METHODS)}")
    return METHODS[name]


register(
    MethodInfo(
        name="ast",
        title="AST",
        summary="a student aligned to smooth experts: balanced loss, intermediate matching, perturbed weights",
        paper="arXiv 2310.10541",
        family="trajectory matching",
        opens="trajectory",
        settings=as_ast,
        color=0,
    )
)
register(
    MethodInfo(
        name="mtt",
        title="MTT",
        summary="a student follows plain experts' trajectories, matched at the end",
        paper="arXiv 2203.11932",
        family="trajectory matching",
        opens="trajectory",
        settings=as_mtt,
        color=1,
    )
)
register(
    MethodInfo(
        name="ftd",
        title="FTD",
        summary="MTT on flat experts, which are trained sharpness-aware; the average of the images is published",
        paper="arXiv 2211.11004",
        family="trajectory matching",
        opens="trajectory",
        settings=as_ftd,
        section="flat_trajectories",
        color=6,
    )
)
register(
    MethodInfo(
        name="tesla",
        title="TESLA",
        summary="MTT with the direct part of the gradient: no step depends on the one before",
        paper="arXiv 2211.10586",
        family="trajectory matching",
        opens="trajectory:open_direct",
        settings=as_tesla,
        section="direct_matching",
        color=7,
    )
)
register(
    MethodInfo(
        name="frepo",
        title="FRePo",
        summary="real images predicted from the set by ridge regression on a pool's features; labels are learned",
        paper="arXiv 2206.00719",
        family="regression",
        opens="feature_regression",
        settings=as_frepo,
        needs_experts=False,
        learns_lr=False,
        target_loss="mse",
        section="feature_regression",
        distill=tuple(name for name in OF_EVERY_METHOD if name not in ("outer", "step_img", "outer_momentum")),
        forwards=iteration_cost.regression_forwards,
        held=iteration_cost.regression_held,
        color=8,
    )
)
register(
    MethodInfo(
        name="cafe",
        title="CAFE",
        summary="features of every layer aligned with real images', in loops that watch the accuracy",
        paper="arXiv 2203.01531",
        family="distribution matching",
        opens="feature_alignment",
        settings=as_cafe,
        needs_experts=False,
        learns_lr=False,
        section="feature_alignment",
        distill=OF_EVERY_METHOD,
        forwards=iteration_cost.alignment_forwards,
        held=iteration_cost.alignment_held,
        color=2,
    )
)
register(
    MethodInfo(
        name="dm",
        title="DM",
        summary="mean features of real and synthetic images under random networks",
        paper="arXiv 2110.04181",
        family="distribution matching",
        opens="distribution_matching",
        settings=as_dm,
        needs_experts=False,
        learns_lr=False,
        section="distribution_matching",
        distill=OF_EVERY_METHOD,
        forwards=iteration_cost.distribution_forwards,
        held=iteration_cost.distribution_held,
        color=3,
    )
)
register(
    MethodInfo(
        name="dsa",
        title="DSA",
        summary="DC with one augmentation shared by real and synthetic images",
        paper="arXiv 2102.08259",
        family="gradient matching",
        opens="gradient_matching:open_augmented",
        settings=as_dsa,
        needs_experts=False,
        learns_lr=False,
        section="gradient_matching",
        distill=OF_EVERY_METHOD,
        forwards=iteration_cost.gradient_forwards,
        held=iteration_cost.gradient_held,
        color=4,
    )
)
register(
    MethodInfo(
        name="dc",
        title="DC",
        summary="gradients of one network on real and synthetic images, class by class",
        paper="arXiv 2006.05929",
        family="gradient matching",
        opens="gradient_matching",
        settings=as_dc,
        needs_experts=False,
        learns_lr=False,
        section="gradient_matching",
        distill=OF_EVERY_METHOD,
        forwards=iteration_cost.gradient_forwards,
        held=iteration_cost.gradient_held,
        color=5,
    )
)
