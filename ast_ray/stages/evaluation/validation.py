"""Train fresh networks on a small set and score them, on the validation or the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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


def train_and_score(
    config: Config,
    data: RealData,
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    *,
    role: str,
    index: int,
    test: bool,
    network: NetworkConfig | None = None,
    watch: TrainingAccuracy | None = None,
) -> Score:
    """Train network ``index`` on images [S, C, H, W] and score it; streams derive from (seed, role, index).

    ``labels`` are int64 [S] or float [S, K], as `core.training.answers_of` gives them.
    ``network`` is another architecture than the settings'. ``watch`` records the training accuracy for the score's
    trend.
    """
    fresh = _fresh(config, data, network, role, index, images.device)
    train_network(fresh, images, labels, recipe, stream(config.seed, role, index, "train"), watch=watch)
    if test:
        found = score(fresh, data.test_images, data.test_labels)
    else:
        found = score(fresh, data.validation_images, data.validation_labels)
    return replace(found, trend=watch.trend()) if watch is not None else found


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
    """Train as `train_and_score`, and return the best test score over every ``peak_every``-th pass, with that pass.

    Chosen on the test set, as published tables are: for comparison with them and nothing else.
    """
    fresh = _fresh(config, data, network, role, index, images.device)
    every, seen = config.evaluate.peak_every, list[tuple[Score, int]]()

    def look(passes: int) -> None:
        if passes % every == 0 or passes == recipe.passes_over(len(images)):
            seen.append((score(fresh, data.test_images, data.test_labels), passes))

    train_network(fresh, images, labels, recipe, stream(config.seed, role, index, "train"), after_pass=look)
    return max(seen, key=lambda item: item[0].accuracy)


def train_together(
    config: Config,
    data: RealData,
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    *,
    role: str,
    indices: Sequence[int],
    network: NetworkConfig | None = None,
    watches: Sequence[TrainingAccuracy] = (),
) -> list[tuple[Network, float]]:
    """Train the networks ``indices`` at once, each from the streams and to the weights (up to rounding) it has alone.

    Returns each with its last training loss, finite or not. ``watches`` record their training accuracies.
    """
    networks = [_fresh(config, data, network, role, index, images.device) for index in indices]
    generators = [stream(config.seed, role, index, "train") for index in indices]
    losses = train_networks_together(networks, images, labels, recipe, generators, watches)
    return list(zip(networks, losses, strict=True))


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
    count = distill.validate_networks
    if networks_together(config, images.device) > 1 and count > 1:
        scores = _scores_together(config, data, images, labels, recipe)
    else:
        scores = [
            train_and_score(config, data, images, labels, recipe, role="validate", index=index, test=False)
            for index in range(count)
        ]
    return tuple(item.accuracy for item in scores)


def networks_together(config: Config, device: torch.device) -> int:
    """Return how many networks of a validation are trained at once: as set, else up to 8 on a GPU and one on a CPU.

    A function of settings and device alone, so that a resumed run does as an undisturbed one.
    """
    return config.compute.networks_together or (8 if device.type == "cuda" else 1)


def _scores_together(
    config: Config, data: RealData, images: Tensor, labels: Tensor, recipe: TrainingRecipe
) -> list[Score]:
    size, scores = networks_together(config, images.device), list[Score]()
    for numbers in torch.arange(config.distill.validate_networks).split(size):
        indices = numbers.tolist()
        trained = train_together(config, data, images, labels, recipe, role="validate", indices=indices)
        for number, (_, loss) in zip(indices, trained, strict=True):
            require_finite_loss(loss, recipe, network=number)
        scores += [score(network, data.validation_images, data.validation_labels) for network, _ in trained]
    return scores
