"""DM: mean features of real and synthetic images under random networks (Zhao and Bilen, WACV 2023; arXiv 2110.04181).

An iteration draws one network, which is never trained, and for every class c a batch of real images and one
augmentation A that real and synthetic images share:

    L = sum_c || mean over B_c of phi(A(x)) - mean over s_c of phi(A(s)) ||^2        (summed over the F features)

with phi the features before the linear layer. The loss is of another network every time: judge it by a running mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ast_ray.core.augmentation import apply, repeated
from ast_ray.core.methods.base import IMAGES, Draw, Gradients, OuterOptimizer, Sources, State
from ast_ray.core.methods.class_batches import draw_class_rows, gather_classes
from ast_ray.core.methods.feature_losses import mean_distance, mean_scale
from ast_ray.core.methods.outer import image_optimizer
from ast_ray.core.methods.real_matching import RealImages, RealMatching
from ast_ray.core.parameters import load


@dataclass(frozen=True)
class DistributionMatching(RealMatching):
    """The problem of DM. Its state is the images and what the outer optimizer carries, nothing else."""

    @property
    def outer(self) -> OuterOptimizer:
        """See `Problem.outer`."""
        config = self.real.config
        lr_img, name = config.distribution_matching.lr_img, "distribution_matching.lr_img"
        return image_optimizer(config.distill, self.real.image_std, lr_img, name)

    def begin(self, images: torch.Tensor, student_lr: float) -> State:
        """See `Problem.begin`."""
        learned = {IMAGES: images.clone()}
        return State.begin({**learned, **self.outer.init(learned)})

    def gradients(self, state: State, draw: Draw) -> Gradients:
        """Return the loss summed over classes, its gradient, and sum_c || mean real feature ||^2.

        Classes are differentiated one after the other: the loss is a sum over them, and so memory does not grow with K.
        """
        real, seed = self.real, self.real.config.seed
        batch = real.config.distribution_matching.real_batch
        load(real.network, real.spec, real.fresh("distill", draw.iteration, "network"))
        rows = draw_class_rows(real.members, batch, seed, "distill", draw.iteration, "real")
        loss, scale = state.images.new_zeros(()), state.images.new_zeros(())
        images = state.images.detach().requires_grad_()
        gradient = torch.zeros_like(state.images)
        for label, wanted in gather_classes(real.images, rows).items():
            chosen, mine = real.shared_augmentation(draw.iteration, label), real.synthetic(images, label)
            with torch.no_grad():
                goal = real.network.features(apply(wanted, repeated(chosen, len(wanted)))).mean(0)
            found = real.network.features(apply(mine, repeated(chosen, len(mine)))).mean(0)
            distance = mean_distance(goal, found)
            gradient += torch.autograd.grad(distance, images)[0]
            loss, scale = loss + distance.detach(), scale + mean_scale(goal)
        return Gradients(loss, {IMAGES: gradient}, (scale,))


def open_problem(sources: Sources) -> DistributionMatching:
    """Return DM's problem.

    Raises:
        ValueError: no real images given.
    """
    return DistributionMatching(RealImages.of(sources))
