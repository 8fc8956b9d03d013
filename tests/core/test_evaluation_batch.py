"""Networks trained together are the networks trained one after the other."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ast_ray.core.evaluation import Recipe, train_network
from ast_ray.core.evaluation_batch import train_networks_together
from ast_ray.core.flat_params import flatten
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError

RECIPE = Recipe(
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


def test_divergence_names_the_network(make_network, make_images):
    images, labels = make_images()
    networks = _networks(make_network)
    next(networks[1].parameters()).data.fill_(float("nan"))
    with pytest.raises(DivergenceError, match=r"training loss nan of network 1 with learning rate 0\.05"):
        train_networks_together(networks, images, labels, RECIPE, [stream(0, number) for number in range(3)])
