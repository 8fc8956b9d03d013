"""theta [P]: its order, its cut into parameters and the way back."""

from __future__ import annotations

import torch
from torch.nn.utils import parameters_to_vector

from ast_ray.core.parameters import FlatSpec, call, flatten, load


def test_order_is_that_of_named_parameters(make_network):
    network = make_network(depth=2)
    spec = FlatSpec.of(network)
    assert list(spec.names) == [name for name, _ in network.named_parameters()]
    assert torch.equal(flatten(network), parameters_to_vector(network.parameters()).detach())
    # 3*4*9 + 4 + 4 + 4, 4*4*9 + 4 + 4 + 4, 4*2*2*3 + 3
    assert spec.numel == flatten(network).numel() == 120 + 156 + 51
    assert sum(spec.sizes) == spec.numel


def test_flatten_is_a_copy(make_network):
    network = make_network()
    theta = flatten(network)
    theta.zero_()
    assert float(flatten(network).abs().sum()) > 0
    assert not theta.requires_grad


def test_views_and_load_round_trip(make_network):
    network, other = make_network(seed=0), make_network(seed=1)
    spec, theta = FlatSpec.of(network), flatten(other)
    for name, piece in spec.views(theta).items():
        assert torch.equal(piece, dict(other.named_parameters())[name])
    load(network, spec, theta)
    assert torch.equal(flatten(network), theta)
    theta.zero_()
    assert torch.equal(flatten(network), flatten(other))


def test_call_uses_theta_and_not_the_networks_own_weights(make_network, make_images):
    network, other, images = make_network(seed=0), make_network(seed=1), make_images()[0]
    logits = call(network, FlatSpec.of(network), flatten(other), images)
    assert torch.equal(logits, other(images).detach())
    mask = torch.zeros(len(images), network.classifier.in_features, dtype=images.dtype)
    masked = call(network, FlatSpec.of(network), flatten(other), images, mask)
    assert torch.equal(masked, other.classifier.bias.detach().expand_as(masked))


def test_gradients_flow_into_theta(make_network, make_images):
    network, images = make_network(), make_images()[0]
    theta = flatten(network).requires_grad_()
    (gradient,) = torch.autograd.grad(call(network, FlatSpec.of(network), theta, images).square().sum(), theta)
    network(images).square().sum().backward()
    own = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    assert torch.allclose(gradient, own, rtol=1e-12)
