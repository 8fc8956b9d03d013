"""One place that turns a network's settings into a network.

Networks made of torchvision's parts are imported when they are asked for: torchvision costs every worker two seconds.
"""

from __future__ import annotations

import torch

from ast_ray.config.architectures import norm_of
from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.alexnet import AlexNet
from ast_ray.core.networks.base import Network, initialize
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.core.networks.mlp import MLP
from ast_ray.errors import ConfigError, Problem, counted

# Every norm layer sees at least 2x2 positions from this size on.
SMALLEST = {"alexnet": 2, "vgg11": 2, "resnet18": 2, "mlp": 1, "vit": 2}


def automatic_depth(height: int) -> int:
    """Blocks that leave about 4x4 positions: 3 for 32 px, 4 for 64, 5 for 128 (Sec. V-A)."""
    return max(1, (height // 4).bit_length() - 1)


def build(
    config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, generator: torch.Generator
) -> Network:
    """Build and initialise a network for images ``(C, H, W)`` and ``classes`` outputs.

    Raises:
        ConfigError: the image is too small for the network, or its depth or width cannot be had.
    """
    problem = _problem(config, image_shape)
    if problem:
        raise ConfigError([problem])
    with torch.random.fork_rng(devices=[]):  # the framework's layers draw from the global state as they are made
        network = _construct(config, image_shape, classes)
    initialize(network, generator)
    return network


def _problem(config: NetworkConfig, image_shape: tuple[int, int, int]) -> Problem | None:
    height, width = image_shape[1:]
    side = min(height, width)
    if config.name == "convnet":
        depth = config.depth or automatic_depth(side)
        if side >> depth >= 1:
            return None
        largest = side.bit_length() - 1
        reason = f"{counted(depth, 'pooling')} would leave nothing of {height}x{width} px; largest valid: {largest}"
        return Problem("network.depth", config.depth, reason)
    if side < SMALLEST[config.name]:
        reason = f"images are {height}x{width} px, the smallest it takes is {SMALLEST[config.name]} px a side"
        return Problem("network.name", config.name, reason)
    if config.name == "vit":
        from ast_ray.core.networks.vit import HEADS, patch_size

        if config.width % HEADS:
            reason = f"the token size is shared by {HEADS} heads: a multiple of them"
            return Problem("network.width", config.width, reason)
        if patch_size(height, width) == 1:
            reason = f"no patch size divides {height}x{width} px into equal parts"
            return Problem("network.name", config.name, reason)
    return None


def _construct(config: NetworkConfig, image_shape: tuple[int, int, int], classes: int) -> Network:
    norm = norm_of(config)
    match config.name:
        case "convnet":
            depth = config.depth or automatic_depth(min(image_shape[1:]))
            return ConvNet(image_shape, classes, width=config.width, depth=depth, norm=norm)
        case "alexnet":
            return AlexNet(image_shape, classes, norm=norm)
        case "vgg11":
            from ast_ray.core.networks.vgg import VGG11

            return VGG11(image_shape, classes, norm=norm)
        case "resnet18":
            from ast_ray.core.networks.resnet import ResNet18

            return ResNet18(image_shape, classes, norm=norm)
        case "mlp":
            return MLP(image_shape, classes, width=config.width, hidden_layers=config.depth or 2)
        case "vit":
            from ast_ray.core.networks.vit import VisionTransformer

            return VisionTransformer(image_shape, classes, width=config.width, layers=config.depth or 4)
