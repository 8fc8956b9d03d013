"""Train fresh networks on a small set and score them, on the validation or the test split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ast_ray.config.settings import Config, NetworkConfig
from ast_ray.core.images import Images
from ast_ray.core.networks import Network, build
from ast_ray.core.precision import tf32_allowed
from ast_ray.core.rng import stream
from ast_ray.core.synthetic_set import TargetLoss
from ast_ray.core.training import (
    Score,
    TrainingAccuracy,
    TrainingRecipe,
    answers_of,
    require_finite_loss,
    score,
    train_network,
    train_networks_together,
)
from ast_ray.data.real import RealData
from ast_ray.stages.ensembles import in_ranges


def train_fresh(
    config: Config,
    data: RealData,
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    *,
    role: str,
    indices: Sequence[int],
    together: bool,
    network: NetworkConfig | None = None,
    watches: Sequence[TrainingAccuracy] = (),
) -> list[tuple[Network, float]]:
    """Train the networks ``indices`` on images [S, C, H, W]; streams derive from (seed, role, index).

    Returns each with its last training loss, finite or not. ``together`` trains all of them at once, each from the
    streams and to the weights (up to rounding) it has alone.

    Args:
        labels: int64 [S] or float [S, K], as `core.training.answers_of` gives them.
        network: another architecture than the settings'.
        watches: one per network, to record its training accuracy; empty for none.
    """
    networks = [_fresh(config, data, network, role, index, images.device) for index in indices]
    generators = [stream(config.seed, role, index, "train") for index in indices]
    watching: Sequence[TrainingAccuracy | None] = watches or [None] * len(networks)
    if together:
        losses = train_networks_together(networks, images, labels, recipe, generators, watches)
    else:
        losses = [
            train_network(fresh, images, labels, recipe, generator, watch=watch)
            for fresh, generator, watch in zip(networks, generators, watching, strict=True)
        ]
    return list(zip(networks, losses, strict=True))


def train_and_peek(
    config: Config,
    data: RealData,
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    *,
    role: str,
    index: int,
    network: NetworkConfig | None = None,
) -> tuple[Score, int]:
    """Train as `train_fresh`, and return the best test score over every ``peak_every``-th pass, with that pass.

    Chosen on the test set, as published tables are: for comparison with them and nothing else.

    Raises:
        DivergenceError: the last training loss is not finite.
    """
    fresh = _fresh(config, data, network, role, index, images.device)
    every, seen = config.evaluate.peak_every, list[tuple[Score, int]]()

    def look(passes: int) -> None:
        if passes % every == 0 or passes == recipe.passes_over(len(images)):
            seen.append((score(fresh, data.test_images, data.test_labels), passes))

    loss = train_network(fresh, images, labels, recipe, stream(config.seed, role, index, "train"), after_pass=look)
    require_finite_loss(loss, recipe)
    return max(seen, key=lambda item: item[0].accuracy)


def _fresh(
    config: Config, data: RealData, network: NetworkConfig | None, role: str, index: int, device: torch.device
) -> Network:
    generator = stream(config.seed, role, index, "init")
    return build(network or config.network, data.image_shape, data.classes, generator).to(device)


def validate(
    config: Config,
    data: RealData,
    images: Tensor,
    labels: Tensor,
    student_lr: float,
    targets: Tensor | None = None,
    target_loss: TargetLoss = "ce",
) -> float:
    """Mean accuracy of ``validate_networks`` fresh networks on the validation split, the same ones each time."""
    accuracies = validation_accuracies(config, data, images, labels, student_lr, targets, target_loss)
    return sum(accuracies) / len(accuracies)


@tf32_allowed(False)  # whatever the distillation around it may use
def validation_accuracies(
    config: Config,
    data: RealData,
    images: Tensor,
    labels: Tensor,
    student_lr: float,
    targets: Tensor | None = None,
    target_loss: TargetLoss = "ce",
) -> tuple[float, ...]:
    """Accuracy of each of ``validate_networks`` fresh networks on the validation split.

    Networks are trained as ``strict`` trains them: on soft labels ``targets`` [S, K] where those are probabilities, on
    the class of the largest entry where they were learned (`core.training.answers_of`).
    """
    labels = answers_of(labels, targets, target_loss)
    distill = config.distill
    recipe = TrainingRecipe.of(
        config.evaluate, lr=student_lr, augmentation=distill.augmentation, siamese=distill.siamese
    )
    size = networks_together(config, images.device)
    together = min(size, distill.validate_networks) > 1
    scores = list[Score]()
    for indices in in_ranges(range(distill.validate_networks), size):
        networks = train_fresh(
            config, data, images, labels, recipe, role="validate", indices=indices, together=together
        )
        for index, (_, loss) in zip(indices, networks, strict=True):
            require_finite_loss(loss, recipe, network=index if together else None)
        scores += [score(network, data.validation_images, data.validation_labels) for network, _ in networks]
    return tuple(item.accuracy for item in scores)


def networks_together(config: Config, device: torch.device) -> int:
    """Return how many networks of a validation are trained at once: as set, else up to 8 on a GPU and one on a CPU.

    A function of settings and device alone, so that a resumed run does as an undisturbed one.
    """
    return config.compute.networks_together or (8 if device.type == "cuda" else 1)
