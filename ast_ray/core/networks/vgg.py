"""VGG-11 for small images: torchvision's layer list with a norm, and 512 features straight into the classifier."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.vgg import cfgs

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network, norm_layer
from ast_ray.core.networks.layers import Conv2d, at_most, halve, late_poolings

_LAYERS = cfgs["A"]


class VGG11(Network):
    """Eight 3x3 convolutions with norm and ReLU, five max poolings, then one linear layer on 512 features.

    32 px leave one position; larger images are averaged down to it, smaller ones skip the early poolings.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, *, norm: str = "instance") -> None:
        super().__init__()
        channels, size = image_shape[0], image_shape[1:]
        layers: list[nn.Module] = []
        poolings = iter(late_poolings(size, 5, last=1))
        for filters in _LAYERS:
            if isinstance(filters, str):
                if next(poolings):
                    layers.append(nn.MaxPool2d(2))
                    size = halve(size)
                continue
            layers += [Conv2d(channels, filters, 3, padding=1), norm_layer(norm)(filters), nn.ReLU()]
            channels = filters
        head, _ = at_most(size, 1)
        self.blocks = nn.Sequential(*layers, head)
        self.classifier = nn.Linear(channels, classes)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, 512]."""
        return self.blocks(x).flatten(1)  # type: ignore[no-any-return]


def build(config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, norm: str) -> Network:
    """Return the network of these settings."""
    return VGG11(image_shape, classes, norm=norm)
