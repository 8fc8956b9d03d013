"""Fresh networks and their training on the set, against `build` and a network trained by torch.optim.SGD."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ast_ray.config import NetworkConfig
from ast_ray.config.networks import NETWORKS
from ast_ray.core.augmentation import apply, draw
from ast_ray.core.engines.autograd import AutogradEngine
from ast_ray.core.methods.fresh import SetTraining, fresh_weights, train_epoch, train_on_set
from ast_ray.core.networks import build
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError

PLAIN = SetTraining(lr=0.05, batch_size=4)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_fresh_weights_are_those_of_a_network_that_is_built(name):
    config = NetworkConfig(name=name, width=8)
    network = build(config, (3, 8, 8), 3, stream(0, "one"))
    before = flatten(network)
    drawn = fresh_weights(network, stream(0, "network", 4))
    assert torch.equal(drawn, flatten(build(config, (3, 8, 8), 3, stream(0, "network", 4))))
    assert not torch.equal(drawn, before)
    assert torch.equal(flatten(network), before)


def test_fresh_weights_have_the_networks_type(make_network):
    single, double = (fresh_weights(make_network(dtype=dtype), stream(1)) for dtype in (torch.float32, torch.float64))
    assert double.dtype == torch.float64
    assert torch.equal(double, single.double())
    assert not double.requires_grad


def _by_hand(theta: Tensor, images: Tensor, labels: Tensor, epochs: int, operations: tuple[str, ...] = ()) -> Tensor:
    """The same network as layers of torch, trained by torch.optim.SGD."""
    with torch.random.fork_rng(devices=[]):
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2)]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3)).to(theta.dtype)
    nn.utils.vector_to_parameters(theta.clone(), network.parameters())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for epoch in range(epochs):
        generator = stream(3, "distill", 8, "epoch", epoch)
        order = torch.randperm(len(images), generator=generator)
        for first in range(0, len(images), 4):
            rows = order[first : first + 4]
            x = apply(images[rows], draw(operations, len(rows), (8, 8), generator))
            optimizer.zero_grad()
            F.cross_entropy(network(x), labels[rows]).backward()
            optimizer.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


@pytest.mark.parametrize("operations", [(), ("color", "crop", "cutout", "flip", "scale", "rotate")])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_training_is_that_of_torch_optim_sgd(make_network, make_images, operations, dtype, tolerance):
    network, (images, labels) = make_network(dtype=dtype), make_images(dtype=dtype)
    theta, engine = flatten(network), AutogradEngine(network, FlatSpec.of(network))
    before, training = theta.clone(), SetTraining(lr=0.05, batch_size=4, operations=operations)  # of 4 and of 2 images
    ours = train_on_set(engine, theta, images, labels, training, epochs=5, seed=3, iteration=8)
    assert ours.dtype == dtype
    assert float((ours - before).abs().max()) > 0.01
    torch.testing.assert_close(ours, _by_hand(theta, images, labels, 5, operations), rtol=tolerance, atol=tolerance)
    assert torch.equal(theta, before)


def test_epochs_one_by_one_are_the_epochs_together(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    engine, theta = AutogradEngine(network, FlatSpec.of(network)), flatten(network)
    together = train_on_set(engine, theta, images, labels, PLAIN, epochs=3, seed=0, iteration=2)
    for epoch in range(3):
        theta = train_epoch(engine, theta, images, labels, PLAIN, seed=0, iteration=2, epoch=epoch)
    assert torch.equal(theta, together)


def test_every_epoch_has_an_order_of_its_own(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    engine, theta = AutogradEngine(network, FlatSpec.of(network)), flatten(network)

    def trained(seed: int, iteration: int, epoch: int) -> Tensor:
        return train_epoch(engine, theta, images, labels, PLAIN, seed=seed, iteration=iteration, epoch=epoch)

    results = [trained(0, 0, 0), trained(1, 0, 0), trained(0, 1, 0), trained(0, 0, 1)]
    assert all(not torch.equal(one, other) for n, one in enumerate(results) for other in results[:n])
    assert torch.equal(trained(0, 0, 0), results[0])


def test_no_epochs_change_nothing(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    engine, theta = AutogradEngine(network, FlatSpec.of(network)), flatten(network)
    assert torch.equal(train_on_set(engine, theta, images, labels, PLAIN, epochs=0, seed=0, iteration=0), theta)


def test_a_training_that_diverges_is_refused(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    engine, theta = AutogradEngine(network, FlatSpec.of(network)), flatten(network)
    images[3, 0, 0, 0] = float("nan")
    with pytest.raises(DivergenceError, match=r"epoch 0 .*iteration 6, learning rate 0\.05"):
        train_on_set(engine, theta, images, labels, PLAIN, epochs=2, seed=0, iteration=6)
