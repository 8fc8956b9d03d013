"""A multi-layer perceptron on the pixels."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network


class MLP(Network):
    """Hidden layers of ``width`` units with ReLU, then one linear layer."""

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, *, width: int = 128, hidden_layers: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = math.prod(image_shape)
        for _ in range(hidden_layers):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, width]."""
        return self.blocks(x.flatten(1))  # type: ignore[no-any-return]


def build(config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, norm: str) -> Network:
    """Return the network of these settings."""
    return MLP(image_shape, classes, width=config.width, hidden_layers=config.depth or 2)
