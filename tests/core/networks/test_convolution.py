"""The product on tiny maps is the convolution, with its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from ast_ray.core.networks.base import initialize
from ast_ray.core.networks.layers import Conv2d, quick_on_tiny_maps
from ast_ray.core.rng import stream
from tests.core.networks.test_architectures import make


@pytest.mark.parametrize(
    ("filters", "side", "product"), [(512, 2, True), (512, 4, True), (512, 5, False), (256, 2, True), (256, 4, False)]
)
def test_same_values_and_gradients_as_the_library(filters, side, product):
    generator = stream(0, "test", "convolution")
    ours = skip_init(Conv2d, filters, filters, 3, padding=1, dtype=torch.float64)
    initialize(ours, generator)
    shape = (3, filters, side, side)
    x = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    weights = torch.randn(shape, dtype=torch.float64, generator=generator)
    assert ours._as_product(x) is product
    inputs = (x, ours.weight, ours.bias)
    found = torch.autograd.grad((ours(x) * weights).sum(), inputs)
    expected = torch.autograd.grad((nn.Conv2d.forward(ours, x) * weights).sum(), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"padding": 0}, {"padding": 2}])
def test_convolutions_that_change_the_maps_size_stay_the_librarys(options):
    assert not Conv2d(512, 512, 3, device="meta", **options)._as_product(torch.zeros(1, 512, 2, 2))


def test_existing_layers_are_converted_in_place():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, device="meta"), nn.ReLU())
    weight = network[0].weight
    quick_on_tiny_maps(network)
    assert type(network[0]) is Conv2d
    assert network[0].weight is weight


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "resnet18-bn"])
def test_deep_networks_use_it(name):
    kinds = {type(module) for module in make(name).modules() if isinstance(module, nn.Conv2d)}
    assert kinds == {Conv2d}
