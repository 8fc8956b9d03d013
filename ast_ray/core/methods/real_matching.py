"""The common part of methods that match real images: their classes, shared augmentation, and networks of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.config.settings import Config
from ast_ray.core.augmentation import Draw as AugmentationDraw
from ast_ray.core.augmentation import draw, operations
from ast_ray.core.engines.autograd import AutogradEngine
from ast_ray.core.images import Images
from ast_ray.core.methods.base import IMAGES, Draw, Gradients, Problem, Report, Sources, State
from ast_ray.core.methods.fresh import fresh_weights
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream
from ast_ray.core.selection import rows_by_class
from ast_ray.errors import DivergenceError

NETWORK = "network"
"""The weights theta [P] of the present network, in the state of methods that train one."""


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Give a divergence in the block the advice that belongs to it."""
    try:
        yield
    except DivergenceError as error:
        error.add_note(advice)
        raise


@dataclass(frozen=True)
class RealImages:
    """Real images [n, C, H, W] with the rows of each class; what a method that matches them is built from.

    ``network`` lends its layout: its own weights are overwritten.
    """

    config: Config
    network: Network
    labels: Tensor
    images: Images
    members: tuple[Tensor, ...]
    image_std: float

    @classmethod
    def of(cls, sources: Sources) -> RealImages:
        """Return the real images of a distillation.

        Raises:
            ValueError: none given.
        """
        if sources.real_images is None or sources.real_labels is None:
            raise ValueError("this method needs real images")
        members = rows_by_class(sources.real_labels, sources.classes, 1)
        sources.network.requires_grad_(requires_grad=False)
        return cls(
            sources.config, sources.network, sources.labels, sources.real_images, tuple(members), sources.image_std
        )

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.members)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def spec(self) -> FlatSpec:
        """The layout of the network's weights."""
        return FlatSpec.of(self.network)

    @property
    def engine(self) -> AutogradEngine:
        """The engine of the method's own networks."""
        return AutogradEngine(self.network, self.spec)

    def fresh(self, *name: str | int) -> Tensor:
        """Return the weights [P] of a fresh network from ``stream(seed, *name)``."""
        return fresh_weights(self.network, stream(self.config.seed, *name))

    def shared_augmentation(self, iteration: int, label: int) -> AugmentationDraw:
        """Draw the one operation with one set of parameters that real and synthetic images of a class share."""
        generator = stream(self.config.seed, "distill", iteration, "augment", label)
        return draw(operations(self.config.distill.augmentation), 1, self.size, generator, siamese=True)

    def synthetic(self, images: Tensor, label: int) -> Tensor:
        """Return the synthetic images of a class, out of images [S, C, H, W] that lie class by class."""
        per_class = len(images) // self.classes
        return images[label * per_class : (label + 1) * per_class]


@dataclass(frozen=True)
class RealMatching(Problem):
    """A method over real images that learns pixels alone."""

    real: RealImages

    def report(self, state: State, draws: Sequence[Draw], mean: Gradients) -> Report:
        """See `Problem.report`; the mean's first part is the loss that counts as nothing gained."""
        scale, loss = float(mean.parts[0]), float(mean.loss)
        return Report(
            iteration=draws[0].iteration,
            loss=loss,
            relative_loss=loss / scale if scale > 0 else math.nan,
            image_gradient_norm=float(torch.linalg.vector_norm(mean.learned[IMAGES])),
        )
