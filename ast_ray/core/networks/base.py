"""The interface of the networks: features, a classifier on top, and an initialisation from a given stream."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A feature extractor followed by one linear classifier.

    Subclasses set ``classifier`` and implement `features`.
    """

    classifier: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> features [B, F] before the linear layer."""
        raise NotImplementedError(f"{type(self).__name__} defines no features")

    def layers(self, x: Tensor) -> list[Tensor]:
        """Images [B, C, H, W] -> the maps that are compared layer by layer, first to last; the features alone here.

        The last one holds the features, in any shape [B, ...].
        """
        return [self.features(x)]

    def forward(self, x: Tensor, feature_mask: Tensor | None = None) -> Tensor:
        """Images [B, C, H, W] -> logits [B, K]; ``feature_mask`` [B, F] scales the features (dropout)."""
        features = self.features(x)
        return self.classifier(features if feature_mask is None else features * feature_mask)  # type: ignore[no-any-return]

    def draw_own(self, generator: torch.Generator) -> None:
        """Initialise parameters that belong to no layer; most networks have none."""


def norm_layer(kind: str) -> Callable[[int], nn.Module]:
    """Return a constructor of norm layers for a number of channels.

    ``instance`` is ``GroupNorm(C, C)``, eps 1e-5, with affine and without running statistics.
    """
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "instance": lambda channels: nn.GroupNorm(channels, channels),
        "batch": nn.BatchNorm2d,
        "none": lambda _channels: nn.Identity(),
    }
    return kinds[kind]


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the framework's default initialisation from ``generator`` instead of the global state.

    Convolutions and linear layers: weight and bias uniform within 1/sqrt(fan_in). Norm layers: ones and zeros.
    Attention: Xavier-uniform projections without bias.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
            nn.init.zeros_(module.in_proj_bias)
            nn.init.zeros_(module.out_proj.bias)
    if isinstance(network, Network):
        network.draw_own(generator)
