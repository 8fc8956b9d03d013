"""ResNet-18 for small images: torchvision's residual stages behind a 3x3 stem without max pooling."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network, norm_layer
from ast_ray.core.networks.layers import PositionMean, quick_on_tiny_maps

SMALLEST_SIDE = 2  # instance norm over a single position returns its bias: the network would be blind


class ResNet18(Network):
    """Stages of 64-128-256-512 filters, two residual blocks each, bias-free convolutions, average over positions.

    Stages 2 to 4 halve the image; below 16 px a stage that would leave a single position keeps it as it is.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, *, norm: str = "instance") -> None:
        super().__init__()
        channels, size = image_shape[0], image_shape[1:]
        body = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=1, norm_layer=norm_layer(norm))
        body.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        body.maxpool, body.fc = nn.Identity(), nn.Identity()
        for stage in (body.layer2, body.layer3, body.layer4):
            # A stride of 2 on an odd side keeps the middle: (n + 1) // 2 positions.
            halved = ((size[0] + 1) // 2, (size[1] + 1) // 2)
            if min(halved) >= SMALLEST_SIDE:
                size = halved
            else:
                stage[0].conv1.stride = stage[0].downsample[0].stride = (1, 1)
        body.avgpool = PositionMean()
        quick_on_tiny_maps(body)
        self.body = body
        self.classifier = nn.Linear(512, classes)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, 512]."""
        return self.body(x)  # type: ignore[no-any-return]


def build(config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, norm: str) -> Network:
    """Return the network of these settings."""
    return ResNet18(image_shape, classes, norm=norm)
