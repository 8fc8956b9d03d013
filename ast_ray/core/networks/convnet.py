"""ConvNet-D (Sec. V-A): the network experts and students share."""

from __future__ import annotations

from torch import Tensor, nn

from ast_ray.core.networks.base import Network, norm_layer


class ConvNet(Network):
    """D blocks of [3x3 convolution, norm with affine, ReLU, 2x2 average pooling], then one linear layer.

    Instance normalisation is ``GroupNorm(width, width)``, eps 1e-5, without running statistics.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        channels, height, columns = image_shape
        blocks: list[nn.Module] = []
        for index in range(depth):
            blocks += [
                nn.Conv2d(channels if index == 0 else width, width, 3, padding=1),
                norm_layer(norm)(width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width * (height >> depth) * (columns >> depth), classes)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, width * H/2^D * W/2^D]."""
        return self.blocks(x).flatten(1)  # type: ignore[no-any-return]
