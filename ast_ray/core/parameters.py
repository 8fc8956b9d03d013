"""All weights of a network as one vector theta in R^P, in the order of ``named_parameters()``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class FlatSpec:
    """Names and shapes that cut theta [P] into a network's parameters."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @classmethod
    def of(cls, network: nn.Module) -> FlatSpec:
        """Read the layout of a network."""
        items = list(network.named_parameters())
        return cls(tuple(name for name, _ in items), tuple(parameter.shape for _, parameter in items))

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each parameter."""
        return [shape.numel() for shape in self.shapes]

    @property
    def numel(self) -> int:
        """P."""
        return sum(self.sizes)

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Cut theta [P] into named parameters; gradients flow back into theta."""
        pieces = theta.split(self.sizes)
        return {name: piece.view(shape) for name, piece, shape in zip(self.names, pieces, self.shapes, strict=True)}


def flatten(network: nn.Module) -> Tensor:
    """Return a copy of all parameters as theta [P]."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])


def call(network: nn.Module, spec: FlatSpec, theta: Tensor, x: Tensor, feature_mask: Tensor | None = None) -> Tensor:
    """Logits [B, K] of the network with weights theta [P] on images [B, C, H, W]."""
    arguments = (x,) if feature_mask is None else (x, feature_mask)
    return functional_call(network, spec.views(theta), arguments)  # type: ignore[no-any-return]


@torch.no_grad()
def load(network: nn.Module, spec: FlatSpec, theta: Tensor) -> None:
    """Copy theta [P] into the network's own parameters."""
    pieces = spec.views(theta)
    for name, parameter in network.named_parameters():
        parameter.copy_(pieces[name])
