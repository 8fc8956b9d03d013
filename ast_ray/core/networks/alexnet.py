"""AlexNet for small images: five convolutions, three max poolings, one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network, norm_layer
from ast_ray.core.networks.layers import at_most, halve, late_poolings

# (filters, kernel, pooled)
_LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))


class AlexNet(Network):
    """Convolutions of 128-192-256-192-192 filters, the first two 5x5; no norm unless asked for.

    32 px leave 4x4 positions for the classifier; larger images are averaged down to 4x4, smaller ones skip the early
    poolings.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, *, norm: str = "none") -> None:
        super().__init__()
        channels, size = image_shape[0], image_shape[1:]
        layers: list[nn.Module] = []
        poolings = iter(late_poolings(size, 3, last=4))
        for filters, kernel, pooled in _LAYERS:
            layers += [nn.Conv2d(channels, filters, kernel, padding=kernel // 2), norm_layer(norm)(filters), nn.ReLU()]
            channels = filters
            if pooled and next(poolings):
                layers.append(nn.MaxPool2d(2))
                size = halve(size)
        head, size = at_most(size, 4)
        self.blocks = nn.Sequential(*layers, head)
        self.classifier = nn.Linear(channels * size[0] * size[1], classes)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, 192 * positions], at most 4x4 of them."""
        return self.blocks(x).flatten(1)  # type: ignore[no-any-return]


def build(config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, norm: str) -> Network:
    """Return the network of these settings."""
    return AlexNet(image_shape, classes, norm=norm)
