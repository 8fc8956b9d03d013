"""Initialisation from a stream: the framework's distribution, without the framework's state."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ast_ray.core.networks import Network, initialize
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream


def test_weights_and_biases_are_uniform_within_the_inverse_root_of_the_fan_in(make_network):
    network = make_network(width=64, depth=2, classes=10)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for values in (module.weight.detach(), module.bias.detach()):
                assert float(values.abs().max()) <= bound
            weight = module.weight.detach().flatten()
            assert float(weight.abs().max()) > 0.97 * bound
            assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
            assert float(weight.mean()) == pytest.approx(0, abs=0.1 * bound)
            assert float(module.bias.detach().abs().max()) > 0.5 * bound
        elif isinstance(module, nn.GroupNorm):
            assert module.weight.detach().eq(1).all()
            assert module.bias.detach().eq(0).all()


def test_same_stream_same_network(make_network):
    assert torch.equal(flatten(make_network(seed=3)), flatten(make_network(seed=3)))
    assert not torch.equal(flatten(make_network(seed=3)), flatten(make_network(seed=4)))


def test_the_global_state_neither_matters_nor_moves(make_network):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = flatten(make_network())
        torch.manual_seed(2)
        before = torch.get_rng_state()
        second = flatten(make_network())
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.initial_seed() == 2
    assert torch.equal(first, second)


def test_every_parameter_is_drawn_anew(make_network):
    network = make_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    initialize(network, stream(0))
    assert torch.isfinite(flatten(network)).all()


def test_layers_without_bias():
    with torch.random.fork_rng(devices=[]):
        layer = nn.Conv2d(2, 3, 3, bias=False)
        nn.init.ones_(layer.weight)
    initialize(layer, stream(0))
    assert float(layer.weight.detach().abs().max()) <= 1 / math.sqrt(18)


def test_a_network_says_that_it_defines_no_features():
    with pytest.raises(NotImplementedError, match="Network defines no features"):
        Network().features(torch.zeros(1))
