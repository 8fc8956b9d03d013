"""DC and DSA: gradients of one network on real and synthetic images, class by class.

DC (Zhao, Mopuri and Bilen, ICLR 2021; arXiv 2006.05929): for the present network theta and each class c, with the real
batch B_c and all synthetic images s_c,

    L = sum_c D(grad CE(W(s_c), c), grad CE(W(B_c), c))           (D: `gradient_distance`)

A network lives for T updates of the images. Between two of them it is trained on the synthetic set, for which it is
meant, and after the last a fresh one takes its place. DSA (Zhao and Bilen, ICML 2021; arXiv 2102.08259) puts real and
synthetic images of a class through one augmentation first, and augments the network's training per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.core.augmentation import NO_AUGMENTATION, apply, operations, pull_back, repeated
from ast_ray.core.engines.autograd import StepData
from ast_ray.core.methods.base import IMAGES, Draw, Gradients, OuterOptimizer, Sources, State
from ast_ray.core.methods.class_batches import draw_class_rows, gather_classes
from ast_ray.core.methods.fresh import SetTraining, train_on_set
from ast_ray.core.methods.gradient_distance import gradient_distance, number_of_rows
from ast_ray.core.methods.outer import image_optimizer
from ast_ray.core.methods.real_matching import NETWORK, RealImages, RealMatching, advising


@dataclass(frozen=True)
class GradientMatching(RealMatching):
    """The problem of DC, and of DSA where ``augmented``. The state carries the present network's weights."""

    augmented: bool = False

    @property
    def outer(self) -> OuterOptimizer:
        """See `Problem.outer`."""
        config = self.real.config
        lr_img, name = config.gradient_matching.lr_img, "gradient_matching.lr_img"
        return image_optimizer(config.distill, self.real.image_std, lr_img, name)

    def begin(self, images: Tensor, student_lr: float) -> State:
        """See `Problem.begin`; ``network`` counts the networks used up, ``step`` the updates of the present one."""
        learned = {IMAGES: images.clone()}
        weights = {NETWORK: self.real.fresh("network", 0).to(images)}
        return State.begin({**learned, **self.outer.init(learned), **weights}, network=0, step=0)

    def gradients(self, state: State, draw: Draw) -> Gradients:
        """Return the distance summed over classes and its gradient; the part is the distance of orthogonal gradients.

        One class's graph exists at a time. The derivative along the images is that of <g(s), dD/dg> with dD/dg held,
        which is one backward pass through the step.
        """
        real, engine = self.real, self.real.engine
        theta = state.tensors[NETWORK]
        settings, seed = real.config.gradient_matching, real.config.seed
        rows = draw_class_rows(real.members, settings.real_batch, seed, "distill", draw.iteration, "real")
        loss, gradients = state.images.new_zeros(()), list[Tensor]()
        for label, wanted in gather_classes(real.images, rows).items():
            chosen = real.shared_augmentation(draw.iteration, label) if self.augmented else NO_AUGMENTATION
            mine = real.synthetic(state.images, label)
            ours, theirs = repeated(chosen, len(mine)), repeated(chosen, len(wanted))
            goal, _ = engine.gradient(theta, _batch(apply(wanted, theirs), label), keep=False)
            found, kept = engine.gradient(theta, _batch(apply(mine, ours), label), keep=True)
            distance, toward = gradient_distance(real.spec, found, goal)
            gradients.append(pull_back(mine, ours, engine.image_derivative(kept, toward)))
            loss = loss + distance
        orthogonal = loss.new_tensor(float(number_of_rows(real.spec) * real.classes))
        return Gradients(loss, {IMAGES: torch.cat(gradients)}, (orthogonal,))

    def advance(self, state: State, draws: Sequence[Draw]) -> State:
        """See `Problem.advance`: train the network on the new images, or begin with a fresh one.

        Raises:
            DivergenceError: its weights stop being finite.
        """
        real, ipc = self.real, self.real.config.distill.ipc
        settings = real.config.gradient_matching
        step, network = state.numbers["step"] + 1, state.numbers["network"]
        if step >= settings.updates_at(ipc):
            fresh = real.fresh("network", network + 1).to(state.images)
            return state.changed({NETWORK: fresh}, network=network + 1, step=0)
        chosen = operations(real.config.distill.augmentation) if self.augmented else ()
        with advising("lower gradient_matching.lr_net"):
            theta = train_on_set(
                real.engine,
                state.tensors[NETWORK],
                state.images,
                real.labels,
                SetTraining(settings.lr_net, operations=chosen),
                epochs=settings.epochs_at(ipc),
                seed=real.config.seed,
                iteration=draws[0].iteration,
            )
        return state.changed({NETWORK: theta}, step=step)


def _batch(images: Tensor, label: int) -> StepData:
    labels = torch.full((len(images),), label, dtype=torch.int64, device=images.device)
    return StepData(images, labels, None, 1.0)


def open_problem(sources: Sources) -> GradientMatching:
    """Return DC's problem.

    Raises:
        ValueError: no real images given.
    """
    return GradientMatching(RealImages.of(sources))


def open_augmented(sources: Sources) -> GradientMatching:
    """Return DSA's problem; errors as `open_problem`."""
    return GradientMatching(RealImages.of(sources), augmented=True)
