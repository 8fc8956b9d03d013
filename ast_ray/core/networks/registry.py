"""One place that turns a network's settings into a network."""

from __future__ import annotations

import torch

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network, initialize
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.errors import ConfigError, Problem


def automatic_depth(height: int) -> int:
    """Blocks that leave about 4x4 positions: 3 for 32 px, 4 for 64, 5 for 128 (Sec. V-A)."""
    return max(1, (height // 4).bit_length() - 1)


def build(
    config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, generator: torch.Generator
) -> Network:
    """Build and initialise a network for images ``(C, H, W)`` and ``classes`` outputs.

    Raises:
        ConfigError: the depth leaves no pixel of the image.
    """
    depth = config.depth or automatic_depth(min(image_shape[1:]))
    if min(image_shape[1:]) >> depth < 1:
        largest = min(image_shape[1:]).bit_length() - 1
        reason = f"{depth} poolings leave nothing of {image_shape[1]}x{image_shape[2]} px; largest valid: {largest}"
        raise ConfigError([Problem("network.depth", config.depth, reason)])
    with torch.random.fork_rng(devices=[]):  # the framework's layers draw from the global state as they are made
        network = ConvNet(image_shape, classes, width=config.width, depth=depth)
    initialize(network, generator)
    return network
