"""What each evaluation protocol trains with."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ast_ray.config import EvaluateConfig
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from ast_ray.core.training import TrainingRecipe, train_network

OURS = EvaluateConfig(passes=40, batch_size=8, momentum=0.5, weight_decay=0.0, lr_decay_pass=10, lr_decay_factor=0.3)


def recipe(protocol: str, config: EvaluateConfig = OURS) -> TrainingRecipe:
    return TrainingRecipe.of(config, lr=0.02, augmentation="flip", siamese=True, protocol=protocol)


def test_strict_and_peak_are_the_settings():
    assert recipe("strict") == TrainingRecipe(0.02, 40, 8, 0.5, 0.0, 10, 0.3, "flip", True)
    assert recipe("peak") == recipe("strict")


def test_no_augmentation_changes_nothing_else():
    assert recipe("no-augmentation") == dataclasses.replace(recipe("strict"), augmentation="none")


@pytest.mark.parametrize(("protocol", "factor"), [("mtt", 0.1), ("ast", 0.5)])
def test_published_protocols_are_fixed(protocol, factor):
    assert recipe(protocol) == TrainingRecipe(0.02, 1000, 256, 0.9, 5e-4, 500, factor, "flip", True)


@pytest.mark.parametrize("protocol", ["strict", "mtt", "ast", "peak", "no-augmentation"])
def test_a_given_rate_beats_the_learned_one(protocol):
    assert recipe(protocol, dataclasses.replace(OURS, lr=0.1)).lr == 0.1


def test_looking_on_does_not_change_training(make_network, make_images):
    images, labels = make_images(dtype=torch.float32)
    plain = TrainingRecipe(0.05, 6, 4, 0.9, 0.0, 0, 1.0, "none")
    seen: list[int] = []
    networks = [make_network(dtype=torch.float32) for _ in range(2)]

    def look(passes: int) -> None:
        seen.append(passes)
        networks[1].eval()

    train_network(networks[0], images, labels, plain, stream(0, "train"))
    train_network(networks[1], images, labels, plain, stream(0, "train"), after_pass=look)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert networks[1].training
    assert torch.equal(flatten(networks[0]), flatten(networks[1]))
