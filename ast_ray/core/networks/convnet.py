"""ConvNet-D (Sec. V-A): the network experts and students share."""

from __future__ import annotations

from torch import Tensor, nn

from ast_ray.config.networks import automatic_depth, padded_side
from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network, norm_layer
from ast_ray.errors import Problem, counted


class ConvNet(Network):
    """D blocks of [3x3 convolution, norm with affine, ReLU, 2x2 average pooling], then one linear layer.

    Instance normalisation is ``GroupNorm(width, width)``, eps 1e-5, without running statistics. The first convolution
    pads by ``first_padding``: 3 in the code of MTT, DC and DM for grey images of 28 px, which makes its maps 32x32.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
        first_padding: int = 1,
    ) -> None:
        super().__init__()
        channels, height, columns = image_shape
        height, columns = padded_side(height, first_padding), padded_side(columns, first_padding)
        blocks: list[nn.Module] = []
        for index in range(depth):
            blocks += [
                nn.Conv2d(channels if index == 0 else width, width, 3, padding=first_padding if index == 0 else 1),
                norm_layer(norm)(width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width * (height >> depth) * (columns >> depth), classes)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, width * H/2^D * W/2^D], of the padded H and W."""
        return self.blocks(x).flatten(1)  # type: ignore[no-any-return]

    def layers(self, x: Tensor) -> list[Tensor]:
        """Images [B, C, H, W] -> D + 1 maps: each block's after its ReLU, before its pooling, and the last pooling's.

        Block d = 1..D gives [B, width, H/2^(d-1), W/2^(d-1)], the last pooling [B, width, H/2^D, W/2^D], of the padded
        H and W.
        """
        maps = []
        for module in self.blocks:
            x = module(x)
            if isinstance(module, nn.ReLU):
                maps.append(x)
        return [*maps, x]


def build(config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, norm: str) -> Network:
    """Return the network of these settings."""
    depth = config.depth or automatic_depth(padded_side(min(image_shape[1:]), config.first_padding))
    return ConvNet(image_shape, classes, width=config.width, depth=depth, norm=norm, first_padding=config.first_padding)


def refuse(config: NetworkConfig, image_shape: tuple[int, int, int]) -> Problem | None:
    """Return the problem of a depth whose poolings leave nothing of the image."""
    height, width = image_shape[1:]
    side = padded_side(min(height, width), config.first_padding)
    depth = config.depth or automatic_depth(side)
    if side >> depth >= 1:
        return None
    largest = side.bit_length() - 1
    reason = f"{counted(depth, 'pooling')} would leave nothing of {height}x{width} px; largest valid: {largest}"
    return Problem("network.depth", config.depth, reason)
