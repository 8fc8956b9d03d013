"""Train fresh networks on a small set and score them, on the validation or the test split."""

from __future__ import annotations

from torch import Tensor

from ast_ray.config.settings import Config
from ast_ray.core.evaluation import Recipe, Score, score, train_network
from ast_ray.core.images import Images
from ast_ray.core.networks import build
from ast_ray.core.rng import stream
from ast_ray.data.real import RealData


def train_and_score(
    config: Config, data: RealData, images: Images, labels: Tensor, recipe: Recipe, *, role: str, index: int, test: bool
) -> Score:
    """Train network ``index`` on images [S, C, H, W] and score it; streams derive from (seed, role, index)."""
    network = build(config.network, data.image_shape, data.classes, stream(config.seed, role, index, "init"))
    network = network.to(images.device)
    train_network(network, images, labels, recipe, stream(config.seed, role, index, "train"))
    if test:
        return score(network, data.test_images, data.test_labels)
    return score(network, data.validation_images, data.validation_labels)


def validate(config: Config, data: RealData, images: Tensor, labels: Tensor, student_lr: float) -> float:
    """Mean accuracy of ``validate_networks`` fresh networks on the validation split, the same ones each time."""
    distill = config.distill
    recipe = Recipe.of(config.evaluate, lr=student_lr, augmentation=distill.augmentation, siamese=distill.siamese)
    scores = [
        train_and_score(config, data, images, labels, recipe, role="validate", index=index, test=False)
        for index in range(distill.validate_networks)
    ]
    return sum(item.accuracy for item in scores) / len(scores)
