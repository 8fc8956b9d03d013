"""ConvNet-D: its size in the paper, and its forward pass written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks import ConvNet, build
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream


@pytest.mark.parametrize(
    ("side", "classes", "parameters"),
    [(32, 10, 320_010), (32, 100, 504_420), (64, 200, 857_160), (128, 10, 615_690)],
)
def test_number_of_parameters_at_width_128_with_automatic_depth(side, classes, parameters):
    network = build(NetworkConfig(), (3, side, side), classes, stream(0))
    assert FlatSpec.of(network).numel == parameters
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_grey_images_of_28_px_are_padded_to_32_as_in_the_literature():
    """By hand: 128*9 + 128 + 256, twice 128*128*9 + 128 + 256, and (128*4*4 + 1) * 10."""
    network = build(NetworkConfig(first_padding=3), (1, 28, 28), 10, stream(0))
    assert FlatSpec.of(network).numel == 1_536 + 2 * 147_840 + 20_490
    images = torch.randn(2, 1, 28, 28, generator=stream(1))
    shapes = [tuple(found.shape[1:]) for found in network.layers(images)]
    assert shapes == [(128, 32, 32), (128, 16, 16), (128, 8, 8), (128, 4, 4)]
    plain = build(NetworkConfig(depth=3), (1, 32, 32), 10, stream(0))
    plain.load_state_dict(network.state_dict())
    assert torch.allclose(network(images), plain(F.pad(images, (2, 2, 2, 2))), rtol=1e-5, atol=1e-5)
    assert build(NetworkConfig(), (1, 28, 28), 10, stream(0)).blocks[0].padding == (1, 1)


def _normalise(x: torch.Tensor) -> torch.Tensor:
    """Each channel of each image to mean 0 and (biased) variance 1."""
    mean = x.mean((2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def test_forward_written_out(make_network, make_images):
    network, images = make_network(depth=2), make_images()[0]
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            if parameter.ndim == 1:
                parameter.copy_(torch.linspace(0.5, 1.5, len(parameter)) - 0.1 * number)
    weights = dict(network.named_parameters())
    x = images
    for first in (0, 4):
        kernel, bias = weights[f"blocks.{first}.weight"], weights[f"blocks.{first}.bias"]
        scale, shift = weights[f"blocks.{first + 1}.weight"], weights[f"blocks.{first + 1}.bias"]
        patches = F.unfold(x, 3, padding=1)
        x = (kernel.flatten(1) @ patches + bias[:, None]).view(len(x), 4, *x.shape[2:])
        x = _normalise(x) * scale[:, None, None] + shift[:, None, None]
        x = x.clamp(min=0)
        x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
    logits = x.flatten(1) @ weights["classifier.weight"].T + weights["classifier.bias"]
    assert torch.allclose(network.features(images), x.flatten(1), rtol=1e-10, atol=1e-12)
    assert torch.allclose(network(images), logits, rtol=1e-10, atol=1e-12)


def test_a_feature_mask_scales_the_features(make_network, make_images):
    network, images = make_network(), make_images()[0]
    mask = torch.randn(len(images), network.classifier.in_features, generator=stream(0), dtype=torch.float64)
    assert torch.equal(network(images, mask), network.classifier(network.features(images) * mask))


def test_images_are_normalised_one_by_one_in_training_as_in_evaluation(make_network, make_images):
    network, images = make_network(depth=2), make_images()[0]
    together = network.train()(images)
    alone = torch.cat([network.eval()(image[None]) for image in images])
    assert torch.allclose(together, alone, rtol=1e-10, atol=1e-12)
    assert not list(network.buffers())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 14), (1, 28, 28)])
def test_other_image_shapes(shape):
    with torch.random.fork_rng(devices=[]):
        network = ConvNet(shape, 5, width=2, depth=2)
    assert network(torch.zeros(2, *shape)).shape == (2, 5)
    assert network.classifier.in_features == 2 * (shape[1] // 4) * (shape[2] // 4)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_layers_are_each_relu_and_the_last_pooling(make_network, make_images, depth):
    network, images = make_network(depth=depth), make_images()[0]
    maps, x = network.layers(images), images
    assert len(maps) == depth + 1
    for block in range(depth):
        convolution, norm = network.blocks[4 * block], network.blocks[4 * block + 1]
        side = 8 >> block
        assert maps[block].shape == (6, 4, side, side)
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=1)
        x = _normalise(x) * norm.weight[:, None, None] + norm.bias[:, None, None]
        x = x.clamp(min=0)
        torch.testing.assert_close(maps[block], x, rtol=1e-10, atol=1e-12)
        x = F.avg_pool2d(x, 2)
    torch.testing.assert_close(maps[-1], x, rtol=1e-10, atol=1e-12)
    assert torch.equal(maps[-1].flatten(1), network.features(images))


def test_other_networks_have_their_features_for_layers():
    network = build(NetworkConfig(name="mlp", width=4), (1, 8, 8), 3, stream(0))
    x = torch.randn(2, 1, 8, 8, generator=stream(1))
    (only,) = network.layers(x)
    assert torch.equal(only, network.features(x))
