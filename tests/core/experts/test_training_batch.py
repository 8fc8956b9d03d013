"""Experts trained together are the experts trained one at a time."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ast_ray.config.settings import ExpertConfig, NetworkConfig
from ast_ray.core.experts.training import EpochRecord, ExpertState, train_expert, train_experts_together
from ast_ray.core.networks import build
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream
from ast_ray.core.vmapped import activation_bytes, call_stacked, is_stateless, stack
from ast_ray.errors import DivergenceError

CONFIG = ExpertConfig(epochs=3, batch_size=5, lr=0.02, weight_decay=1e-2, lr_decay_epoch=1, penalty_weight=0.5)
IDS = (3, 0, 8)


def _networks(make_network, ids=IDS, dtype=torch.float64):
    networks = [make_network(dtype=dtype) for _ in ids]
    for number, network in zip(ids, networks, strict=True):
        for parameter in network.parameters():  # every expert starts elsewhere
            parameter.data += 0.01 * torch.rand(parameter.shape, dtype=dtype, generator=stream(number, "start"))
    return networks


def _alone(networks, images, labels, config, ids=IDS):
    return {
        number: list(train_expert(network, images, labels, config, seed=4, expert_id=number))
        for number, network in zip(ids, networks, strict=True)
    }


def _together(networks, images, labels, config, ids=IDS, **more):
    return list(train_experts_together(networks, images, labels, config, seed=4, expert_ids=ids, **more))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"penalty_weight": 0.0},
        {"penalty_norm": "pixel", "penalty_scalar": "true_class", "augmentation": "none", "clip_schedule": "constant"},
    ],
)
def test_same_trajectories_as_one_at_a_time(make_network, make_images, dtype, tolerance, changes):
    images, labels = make_images(per_class=3, dtype=dtype)
    networks, config = _networks(make_network, dtype=dtype), dataclasses.replace(CONFIG, **changes)
    alone, epochs = _alone(networks, images, labels, config), _together(networks, images, labels, config)
    assert [record.epoch for record in (epoch[8] for epoch in epochs)] == [0, 1, 2, 3]
    for number in IDS:
        assert not torch.equal(alone[number][1].theta, alone[IDS[0] if number != IDS[0] else 0][1].theta)
        for expected, epoch in zip(alone[number], epochs, strict=True):
            found = epoch[number]
            assert torch.allclose(found.theta, expected.theta, rtol=tolerance, atol=tolerance)
            assert torch.allclose(found.velocity, expected.velocity, rtol=tolerance, atol=tolerance)
            for name in ("train_loss", "penalty"):
                assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=10 * tolerance, nan_ok=True)


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_other_networks_too(make_images, name):
    images, labels = make_images()
    images = torch.nn.functional.interpolate(images, size=(8, 8))
    config = NetworkConfig(name=name, width=8, depth=1)
    networks = [
        build(config, tuple(images.shape[1:]), int(labels.max()) + 1, stream(i, "init")).double() for i in (0, 1)
    ]
    images, labels = images[:4], labels[:4]
    settings = dataclasses.replace(CONFIG, epochs=1, batch_size=4)
    alone = _alone(networks, images, labels, settings, ids=(0, 1))
    (_, last) = _together(networks, images, labels, settings, ids=(0, 1))
    for number in (0, 1):
        assert torch.allclose(last[number].theta, alone[number][-1].theta, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "resnet18"])
def test_large_networks_give_the_same_logits(name):
    networks = [build(NetworkConfig(name=name), (1, 8, 8), 3, stream(i, "init")) for i in (0, 1)]
    spec, x = FlatSpec.of(networks[0]), torch.rand(2, 2, 1, 8, 8, generator=stream(0, "x"))
    with torch.no_grad():
        found = call_stacked(networks[0], spec, stack(networks), x)
        for network, images, logits in zip(networks, x, found, strict=True):
            assert torch.allclose(logits, network(images), rtol=1e-3, atol=1e-5)


def test_goes_on_from_states(make_network, make_images):
    images, labels = make_images()
    networks = _networks(make_network)
    whole = _together(networks, images, labels, CONFIG)
    starts = [ExpertState(1, whole[1][number].theta, whole[1][number].velocity) for number in IDS]
    rest = _together(networks, images, labels, CONFIG, starts=starts)
    assert [epoch[0].epoch for epoch in rest] == [2, 3]
    for number in IDS:
        assert torch.equal(rest[-1][number].theta, whole[-1][number].theta)


def test_an_expert_that_diverges_is_named_and_the_others_do_not_notice(make_network, make_images):
    images, labels = make_images()
    networks = _networks(make_network)
    for parameter in networks[1].parameters():
        parameter.data.fill_(float("nan"))
    epochs = _together(networks, images, labels, CONFIG)
    error = epochs[1][IDS[1]]
    assert isinstance(error, DivergenceError)
    assert "expert 0 diverged in epoch 1" in str(error)
    assert [set(epoch) for epoch in epochs[2:]] == [{3, 8}, {3, 8}]
    alone = _alone([networks[0], networks[2]], images, labels, CONFIG, ids=(3, 8))
    for number in (3, 8):
        record = epochs[-1][number]
        assert isinstance(record, EpochRecord)
        assert torch.allclose(record.theta, alone[number][-1].theta, rtol=1e-10, atol=1e-12)


def test_when_all_diverge_it_ends(make_network, make_images):
    images, labels = make_images()
    epochs = _together(_networks(make_network), images, labels, dataclasses.replace(CONFIG, lr=1e300))
    assert len(epochs) == 2
    assert all(isinstance(outcome, DivergenceError) for outcome in epochs[1].values())


def test_what_a_network_keeps_per_image():
    network = build(NetworkConfig(width=2, depth=1), (1, 4, 4), 3, stream(0, "a"))
    assert is_stateless(network)
    # conv, norm, relu: 2*16 numbers each, pool 2*4, classifier 3; float32
    assert activation_bytes(network, (1, 4, 4), penalty=False) == 2 * 4 * (3 * 32 + 8 + 3)
    batch = build(NetworkConfig(width=2, depth=1, norm="batch"), (1, 4, 4), 3, stream(0, "a"))
    assert not is_stateless(batch)
