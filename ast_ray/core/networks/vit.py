"""A small vision transformer: torchvision's encoder on about 8x8 patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.models.vision_transformer import Encoder

from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network
from ast_ray.errors import Problem

HEADS = 4


def patch_size(height: int, width: int) -> int:
    """The smallest patch that divides both sides and leaves at most 8 patches on the longer one."""
    least = max(2, -(-max(height, width) // 8))
    return next((size for size in range(least, min(height, width) + 1) if height % size == 0 == width % size), 1)


class VisionTransformer(Network):
    """Patches -> tokens of size ``width`` -> ``layers`` encoder layers of 4 heads; the class token is the feature.

    Pre-norm layers with an MLP of twice the width and no dropout. Attention runs on the plain matrix products, which
    can be differentiated twice; the fused kernels cannot.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, *, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        channels, height, columns = image_shape
        patch = patch_size(height, columns)
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        tokens = 1 + (height // patch) * (columns // patch)
        self.encoder = Encoder(tokens, layers, HEADS, width, 2 * width, dropout=0.0, attention_dropout=0.0)
        self.classifier = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, width]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        with sdpa_kernel(SDPBackend.MATH):
            return self.encoder(tokens)[:, 0]  # type: ignore[no-any-return]

    def draw_own(self, generator: torch.Generator) -> None:
        """Class token zero; position embedding normal with deviation 0.02."""
        nn.init.zeros_(self.class_token)
        nn.init.normal_(self.encoder.pos_embedding, std=0.02, generator=generator)


def build(config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, norm: str) -> Network:
    """Return the network of these settings."""
    return VisionTransformer(image_shape, classes, width=config.width, layers=config.depth or 4)


def refuse(config: NetworkConfig, image_shape: tuple[int, int, int]) -> Problem | None:
    """Return what the transformer cannot be: a width that its heads do not share, a size without a patch size."""
    height, width = image_shape[1:]
    if config.width % HEADS:
        reason = f"the token size is shared by {HEADS} heads: a multiple of them"
        return Problem("network.width", config.width, reason)
    if patch_size(height, width) == 1:
        reason = f"no patch size divides {height}x{width} px into equal parts"
        return Problem("network.name", config.name, reason)
    return None
