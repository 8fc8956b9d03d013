"""Networks trained together are the networks trained one after the other."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks import build
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from ast_ray.core.training import (
    TrainingAccuracy,
    TrainingRecipe,
    require_finite_loss,
    train_network,
    train_networks_together,
)
from ast_ray.errors import DivergenceError

RECIPE = TrainingRecipe(
    lr=0.05,
    passes=4,
    batch_size=5,
    momentum=0.9,
    weight_decay=1e-3,
    lr_decay_pass=2,
    lr_decay_factor=0.5,
    augmentation="color_crop_flip_scale",
)


def _networks(make_network):
    networks = [make_network() for _ in range(3)]
    for number, network in enumerate(networks):
        for parameter in network.parameters():
            parameter.data += 0.01 * torch.rand(parameter.shape, dtype=parameter.dtype, generator=stream(number, "at"))
    return networks


@pytest.mark.parametrize("siamese", [False, True])
def test_same_weights_as_one_after_the_other(make_network, make_images, siamese):
    (images, labels), recipe = make_images(per_class=3), dataclasses.replace(RECIPE, siamese=siamese)
    alone, together = _networks(make_network), _networks(make_network)
    for number, network in enumerate(alone):
        train_network(network, images, labels, recipe, stream(0, number))
    train_networks_together(together, images, labels, recipe, [stream(0, number) for number in range(3)])
    for one, other, fresh in zip(alone, together, _networks(make_network), strict=True):
        assert torch.allclose(flatten(one), flatten(other), rtol=1e-10, atol=1e-12)
        assert not torch.allclose(flatten(other), flatten(fresh))


def test_training_accuracies_are_those_of_one_after_the_other(make_network, make_images):
    (images, labels), watches = make_images(per_class=3), [TrainingAccuracy() for _ in range(3)]
    recipe, alone = dataclasses.replace(RECIPE, passes=8), []
    for number, network in enumerate(_networks(make_network)):
        alone.append(TrainingAccuracy())
        train_network(network, images, labels, recipe, stream(0, number), watch=alone[number])
    train_networks_together(
        _networks(make_network), images, labels, recipe, [stream(0, number) for number in range(3)], watches
    )
    assert [watch.trend() for watch in watches] == [watch.trend() for watch in alone]


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "mlp", "vit"])
def test_other_networks_too(make_images, name):
    images, labels = make_images(per_class=1)
    config, recipe = NetworkConfig(name=name, width=8), dataclasses.replace(RECIPE, passes=1)

    def networks():
        return [build(config, (3, 8, 8), 3, stream(number, "init")).double() for number in (0, 1)]

    alone, together = networks(), networks()
    for number, network in enumerate(alone):
        train_network(network, images, labels, recipe, stream(0, number))
    train_networks_together(together, images, labels, recipe, [stream(0, number) for number in (0, 1)])
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(flatten(one), flatten(other), rtol=1e-9, atol=1e-10)


def test_a_network_that_diverges_is_told_by_its_loss_and_leaves_the_others_alone(make_network, make_images):
    images, labels = make_images()
    generators = [[stream(0, number) for number in range(3)] for _ in range(2)]
    sound, broken = _networks(make_network), _networks(make_network)
    next(broken[1].parameters()).data.fill_(float("nan"))
    expected = train_networks_together(sound, images, labels, RECIPE, generators[0])
    found = train_networks_together(broken, images, labels, RECIPE, generators[1])
    assert [found[0], found[2]] == pytest.approx([expected[0], expected[2]])
    for number in (0, 2):
        assert torch.allclose(flatten(broken[number]), flatten(sound[number]), rtol=1e-10, atol=1e-12)
    with pytest.raises(DivergenceError, match=r"training loss nan of network 1 with learning rate 0\.05"):
        require_finite_loss(found[1], RECIPE, network=1)
