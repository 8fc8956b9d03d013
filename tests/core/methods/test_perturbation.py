"""Eq. 23: every filter moves by rho times its own norm, and nothing else moves."""

from __future__ import annotations

import pytest
import torch

from ast_ray.core.methods.ast import perturb
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream

RHO = 0.1


def _moves(network, **options: object) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Parameter name -> (before, after)."""
    spec, theta = FlatSpec.of(network), flatten(network)
    after = perturb(theta, spec, RHO, stream(0, "perturb"), **options)
    return {name: (spec.views(theta)[name], spec.views(after)[name]) for name in spec.names}


def _relative(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """||theta*_j - theta_j|| / ||theta_j|| of every output row."""
    return (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)


@pytest.fixture(scope="module")
def network(make_network):
    """Norm weights and biases away from 1 and 0, so that a change of them shows."""
    network = make_network(depth=2)
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            if parameter.ndim == 1:
                parameter.copy_(torch.linspace(1, 2, len(parameter)) + number)
    return network


def test_every_filter_moves_by_rho_times_its_norm(network):
    for name, (before, after) in _moves(network).items():
        if before.ndim > 1:
            assert torch.allclose(_relative(before, after), torch.full((len(before),), RHO).double()), name
        else:
            assert torch.equal(before, after), name


def test_scope_conv_leaves_the_classifier_alone(network):
    for name, (before, after) in _moves(network, scope="conv").items():
        moved = not torch.equal(before, after)
        assert moved == (before.ndim == 4), name


def test_vectors_move_as_one_filter_each(network):
    for name, (before, after) in _moves(network, vectors=True).items():
        if before.ndim == 1:
            assert float((after - before).norm() / before.norm()) == pytest.approx(RHO), name
        else:
            assert torch.allclose(_relative(before, after), torch.full((len(before),), RHO).double()), name


def test_directions_differ_from_filter_to_filter(network):
    before, after = _moves(network)["blocks.4.weight"]
    directions = torch.nn.functional.normalize((after - before).flatten(1), dim=1)
    assert float((directions @ directions.T - torch.eye(len(directions))).abs().max()) < 0.8


def test_rho_zero_draws_nothing(network):
    generator = stream(0, "perturb")
    state = generator.get_state()
    theta = flatten(network)
    assert torch.equal(perturb(theta, FlatSpec.of(network), 0.0, generator), theta)
    assert torch.equal(generator.get_state(), state)


def test_a_dead_filter_stays_zero(make_network):
    network = make_network()
    with torch.no_grad():
        network.classifier.weight[1] = 0
    before, after = _moves(network)["classifier.weight"]
    assert torch.equal(after[1], before[1])
    assert torch.isfinite(after).all()


def test_same_stream_same_perturbation_and_the_input_is_kept(network):
    spec, theta = FlatSpec.of(network), flatten(network)
    kept = theta.clone()
    first, second, other = (perturb(theta, spec, RHO, stream(seed, "perturb")) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(theta, kept)
