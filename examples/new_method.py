"""A distillation method in one file: class by class, match the distribution of pixels along random directions.

    python -m examples.new_method run --preset digits --methods sliced,dm --compute.backend serial --out runs/sliced

For a class c with real images x and synthetic images s, and R random unit directions u, drawn anew each iteration:

    L = sum_c mean_u  1/m sum_i ( sorted(s u)_i - mean of the i-th of m parts of sorted(x u) )^2

Up to a constant this is the squared sliced Wasserstein distance between the two sets of pixels: along a line, optimal
transport joins what is sorted. No network is involved, so an iteration costs next to nothing; the images are those of
no network, either. It is an example of the seam and no published method.

A method has two halves. The torch-free one is a `MethodInfo`: settings, reports and checks read it. The other is a
`Problem`, which `core.methods.iteration.iterate` runs: draw, gradients, average, update, advance. Checkpoints,
validation, exact resuming, the table and the report then follow without a line here.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.config import Config
from ast_ray.config.methods import OF_EVERY_METHOD, MethodInfo, register
from ast_ray.config.own_methods import VARIABLE
from ast_ray.core.methods.base import IMAGES, Draw, Gradients, OuterOptimizer, Sources, State
from ast_ray.core.methods.class_batches import draw_class_rows, gather_classes
from ast_ray.core.methods.outer import image_optimizer
from ast_ray.core.methods.real_matching import RealImages, RealMatching
from ast_ray.core.rng import stream

DIRECTIONS = 64
PARTS = 20  # real images of a class and iteration, per synthetic image


def as_sliced(config: Config) -> Config:
    """Return the method's settings: from the run's, what experts would bring switched off, and a start from noise."""
    distill = dataclasses.replace(config.distill, init="noise", init_clusters=0, segments=1)
    return dataclasses.replace(config, distill=distill)


def sliced_distance(synthetic: Tensor, real: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance and that of images without contrast, for pixels [m, D] and [n, D], directions [D, R]."""
    ours = (synthetic @ directions).sort(dim=0).values
    sorted_real = (real @ directions).sort(dim=0).values
    goal = torch.stack([part.mean(0) for part in sorted_real.tensor_split(len(synthetic))])
    return (ours - goal).square().mean(), goal.square().mean()


@dataclass(frozen=True)
class SlicedMatching(RealMatching):
    """The problem. `RealMatching` reports loss and gradient norm, and holds the real images by class (`self.real`)."""

    @property
    def outer(self) -> OuterOptimizer:
        """The update rule: scale-free by default, SGD at ``distill.lr_img`` with ``distill.outer = sgd``."""
        config = self.real.config
        return image_optimizer(config.distill, self.real.image_std, config.distill.lr_img, "distill.lr_img")

    def begin(self, images: Tensor, student_lr: float) -> State:
        """Return the first state: what is learned, and what the update rule carries. All of it is checkpointed."""
        learned = {IMAGES: images.clone()}
        return State.begin({**learned, **self.outer.init(learned)})

    def gradients(self, state: State, draw: Draw) -> Gradients:
        """Return loss and gradient of one iteration, and in ``parts`` the loss that counts as nothing gained."""
        real, seed = self.real, self.real.config.seed
        # Every draw takes a stream named by what it is for: a resumed run draws what an uninterrupted one would have.
        generator = stream(seed, "distill", draw.iteration, "directions")
        directions = torch.randn(state.images[0].numel(), DIRECTIONS, generator=generator).to(state.images)
        directions = directions / directions.norm(dim=0)
        count = PARTS * real.config.distill.ipc
        rows = draw_class_rows(real.members, count, seed, "distill", draw.iteration, "real")
        images = state.images.detach().requires_grad_()
        loss, scale = images.new_zeros(()), images.new_zeros(())
        for label, wanted in gather_classes(real.images, rows).items():
            mine = real.synthetic(images, label)
            distance, nothing = sliced_distance(mine.flatten(1), wanted.flatten(1), directions)
            loss, scale = loss + distance, scale + nothing
        (gradient,) = torch.autograd.grad(loss, images)
        return Gradients(loss.detach(), {IMAGES: gradient}, (scale,))


def open_problem(sources: Sources) -> SlicedMatching:
    """Build the problem from what a distillation is given; `MethodInfo.opens` names this module, or MODULE:FUNCTION."""
    return SlicedMatching(RealImages.of(sources))


register(
    MethodInfo(
        name="sliced",  # as in --methods, and the name of its folder in the run directory
        title="Sliced",  # as tables print it
        summary="pixels of each class matched along random directions",
        paper="an example",
        family="distribution matching",
        opens="examples.new_method",  # an importable name: workers are other processes
        settings=as_sliced,
        needs_experts=False,  # real images are given instead
        learns_lr=False,  # networks are trained at evaluate.real_lr
        distill=(*OF_EVERY_METHOD, "lr_img"),  # what decides the bytes, hence the fingerprint
        forwards=lambda config, classes, per_class: 0.0,  # no network: for estimates of time
    )
)

if __name__ == "__main__":
    from ast_ray.cli.main import main

    os.environ.setdefault(VARIABLE, "examples.new_method")  # so that Ray's workers import it, too
    main()
