"""Several networks of one layout at once: their weights stacked, every operation done for all of them in one call.

Stacked convolutions become grouped ones. The networks do not see one another; results agree with one at a time to the
rounding of floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, call, flatten


def stack(networks: Sequence[Network]) -> Tensor:
    """Weights theta [E, P] of E networks of the same layout, copied."""
    return torch.stack([flatten(network) for network in networks])


def is_stateless(network: Network) -> bool:
    """Return whether the network is a function of its parameters alone (batch norm's running statistics are not)."""
    return next(network.buffers(), None) is None


def call_stacked(network: Network, spec: FlatSpec, theta: Tensor, x: Tensor) -> Tensor:
    """Logits [E, B, K] of E networks with weights theta [E, P] on images [E, B, C, H, W], or shared [B, C, H, W]."""
    shared = x.dim() == 4

    def one(weights: Tensor, images: Tensor) -> Tensor:
        return call(network, spec, weights, images)

    logits: Tensor = vmap(one, in_dims=(0, None if shared else 0))(theta, x)
    return logits


def activation_bytes(network: Network, image_shape: tuple[int, int, int], *, penalty: bool) -> int:
    """About how much memory one image needs in a training step, by counting what its layers put out.

    Twice the outputs for a step (with what the backward pass makes), six times with the gradient penalty.
    """
    counted = 0

    def count(_module: object, _inputs: object, output: object) -> None:
        nonlocal counted
        counted += output.numel() * output.element_size() if isinstance(output, Tensor) else 0

    leaves = [module for module in network.modules() if next(module.children(), None) is None]
    hooks = [module.register_forward_hook(count) for module in leaves]
    parameter = next(network.parameters())
    try:
        with torch.no_grad():
            network(torch.zeros(2, *image_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return counted // 2 * (6 if penalty else 2)


def gather_images(images: Images, rows: Tensor) -> Tensor:
    """Images [E, B, C, H, W] at rows [E, B], read in one go."""
    found: Tensor = images[rows.flatten()].unflatten(0, rows.shape)
    return found


def batches(count: int, size: int, generators: Sequence[torch.Generator]) -> Iterator[Tensor]:
    """Rows [E, B] of each batch of an epoch over ``count`` images; every network's order is its own generator's."""
    orders = [torch.randperm(count, generator=generator) for generator in generators]
    yield from torch.stack(orders).split(size, dim=1)
