"""From settings to a network."""

from __future__ import annotations

import pytest
import torch

from ast_ray.config.networks import automatic_depth
from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks import ConvNet, build
from ast_ray.core.rng import stream
from ast_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("height", "depth"), [(32, 3), (64, 4), (128, 5), (8, 1), (16, 2), (28, 2), (224, 5), (2, 1), (100, 4)]
)
def test_automatic_depth(height, depth):
    assert automatic_depth(height) == depth


def _depth(config: NetworkConfig, shape: tuple[int, int, int]) -> int:
    network = build(config, shape, 3, stream(0))
    assert isinstance(network, ConvNet)
    return sum(isinstance(module, torch.nn.Conv2d) for module in network.modules())


def test_depth_is_the_setting_or_by_the_shorter_side():
    assert _depth(NetworkConfig(width=2), (1, 64, 32)) == 3
    assert _depth(NetworkConfig(width=2, depth=1), (1, 64, 32)) == 1
    assert _depth(NetworkConfig(width=2, depth=3), (1, 8, 8)) == 3


def test_a_depth_that_leaves_no_pixel_is_refused_with_the_largest_valid():
    with pytest.raises(ConfigError) as caught:
        build(NetworkConfig(width=2, depth=4), (1, 8, 12), 3, stream(0))
    (problem,) = caught.value.problems
    assert (problem.setting, problem.value) == ("network.depth", 4)
    assert problem.reason == "4 poolings would leave nothing of 8x12 px; largest valid: 3"
    assert _depth(NetworkConfig(width=2, depth=3), (1, 8, 12)) == 3
