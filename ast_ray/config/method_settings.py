"""Settings of the methods other than AST and MTT: a section for each family.

``lr_img`` is the rate of the pixels under ``distill.outer = sgd``, as published; the default, ``normalized``, moves
them by ``distill.step_img`` in every method. A setting that is 0 "for automatic" says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ast_ray.config.field import setting

_REAL_BATCH = "real images of each class and iteration; a class with fewer gives all it has"
# Epochs between two updates by ipc, as published (inner_loop of DC's code); elsewhere ipc * epochs is 500.
_PUBLISHED_EPOCHS = {1: 1, 10: 50, 20: 25, 30: 20, 40: 15, 50: 10, 100: 2}
_LR_IMG = "sgd: learning rate of the pixels"


@dataclass(frozen=True, kw_only=True)
class FlatTrajectoriesConfig:
    """Method ftd: MTT on flat experts, with averaged images (arXiv 2211.11004)."""

    rho: float = setting(0.01, "ftd's expert.sharpness_rho", above=0, high=10)
    alpha: float = setting(1.0, "ftd's expert.sharpness_alpha (paper: 0.3 for CIFAR-10 at ipc 1 and 10, else 1)", low=0)
    average: float = setting(
        0.0,
        "ftd's distill.image_average; 0 = what leaves the starting images 8 % of the weight, as 0.9995 after 5,000",
        low=0,
        below=1,
    )


@dataclass(frozen=True, kw_only=True)
class DirectMatchingConfig:
    """Method tesla: MTT with the direct part of the gradient (arXiv 2211.10586)."""

    assigned_labels: bool = setting(
        False, "labels are the probabilities that the expert's target weights give the images (paper: ImageNet-1K only)"
    )


@dataclass(frozen=True, kw_only=True)
class GradientMatchingConfig:
    """Methods dc and dsa: gradients of one network on real and synthetic images (arXiv 2006.05929, 2102.08259)."""

    updates: int = setting(
        0, "updates of the images in a network's life; 0 = by ipc (paper: 1 at ipc 1, else ipc)", symbol="T", low=0
    )
    epochs: int = setting(
        0, "epochs of the network on the synthetic set between two updates; 0 = by ipc (paper: 50 at ipc 10)", low=0
    )
    real_batch: int = setting(256, _REAL_BATCH, low=1, high=2**20)
    lr_net: float = setting(0.01, "learning rate of the network between two updates", above=0)
    lr_img: float = setting(0.1, _LR_IMG, above=0)
    init: Literal["auto", "random-real", "noise"] = setting(
        "auto", "starting images; auto = noise for dc, random real ones for dsa (papers)"
    )

    def updates_at(self, ipc: int) -> int:
        """Return T, the updates in a network's life.

        >>> GradientMatchingConfig().updates_at(10), GradientMatchingConfig(updates=3).updates_at(10)
        (10, 3)
        """
        return self.updates or ipc

    def epochs_at(self, ipc: int) -> int:
        """Return the epochs of the network's training between two updates; 0 stands for the published number.

        >>> GradientMatchingConfig().epochs_at(10), GradientMatchingConfig().epochs_at(5)
        (50, 100)
        """
        return self.epochs or _PUBLISHED_EPOCHS.get(ipc, max(1, 500 // ipc))


@dataclass(frozen=True, kw_only=True)
class DistributionMatchingConfig:
    """Method dm: mean features of random networks on real and synthetic images (arXiv 2110.04181)."""

    real_batch: int = setting(256, _REAL_BATCH, low=1, high=2**20)
    lr_img: float = setting(1.0, _LR_IMG, above=0)
    init: Literal["random-real", "noise"] = setting("random-real", "starting images")


@dataclass(frozen=True, kw_only=True)
class FeatureAlignmentConfig:
    """Method cafe: features of every layer, a discrimination loss, watched loops (arXiv 2203.01531)."""

    real_batch: int = setting(256, _REAL_BATCH, low=1, high=2**20)
    query_batch: int = setting(128, "real images of each class that an accuracy is watched on", low=1, high=2**20)
    lr_net: float = setting(0.01, "learning rate of the network between two updates", above=0)
    lr_img: float = setting(0.1, _LR_IMG, above=0)
    discrimination: float = setting(0.01, "weight of the discrimination loss", symbol="beta", low=0)
    settled: float = setting(
        0.04, "ten accuracies in a row within this end a network's life", symbol="lambda_1", above=0, high=1
    )
    moved: float = setting(
        0.03, "ten accuracies in a row beyond this end its training", symbol="lambda_2", above=0, high=1
    )
    inner_limit: int = setting(100, "epochs of its training at most: a network that has converged moves no more", low=1)
    augmented: bool = setting(False, "share distill.augmentation between real and synthetic images (CAFE+DSA)")
    init: Literal["random-real", "noise"] = setting("noise", "starting images")


@dataclass(frozen=True, kw_only=True)
class FeatureRegressionConfig:
    """Method frepo: ridge regression on features of a pool of networks, learned labels (arXiv 2206.00719)."""

    lr: float = setting(
        3e-4,
        "LAMB's rate of images and labels: the share of its norm that a tensor moves per iteration",
        above=0,
        high=1,
    )
    real_batch: int = setting(1024, "real images of each iteration, of all classes", low=1, high=2**20)
    ridge: float = setting(1e-6, "ridge, relative to the mean of the kernel's diagonal", symbol="lambda", above=0)
    flip: bool = setting(True, "join the mirrored images inside the loss")
    pool: int = setting(10, "networks in the pool", low=1, high=1000)
    max_age: int = setting(100, "steps a network of the pool is trained before it is replaced", low=1)
    lr_net: float = setting(3e-4, "Adam's rate of the pool's networks", above=0)
    init: Literal["random-real", "noise"] = setting("random-real", "starting images")
