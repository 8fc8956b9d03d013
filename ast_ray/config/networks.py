"""The architectures: one record each. What they compute is in `core.networks`, in the module that the record names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkSpec:
    """One architecture; its own norm is the first of ``norms``, and ``sized`` means that width and depth can be set."""

    module: str
    title: str
    norms: tuple[str, ...]
    smallest: int = 2  # every norm layer sees at least 2x2 positions from this size on
    sized: bool = False


NETWORKS: dict[str, NetworkSpec] = {
    "convnet": NetworkSpec("convnet", "ConvNet", ("instance", "batch", "none"), smallest=1, sized=True),
    "alexnet": NetworkSpec("alexnet", "AlexNet", ("none", "instance", "batch")),
    "vgg11": NetworkSpec("vgg", "VGG-11", ("instance", "batch", "none")),
    "resnet18": NetworkSpec("resnet", "ResNet-18", ("instance", "batch")),
    "mlp": NetworkSpec("mlp", "MLP", ("none",), smallest=1, sized=True),
    "vit": NetworkSpec("vit", "ViT", ("layer",), sized=True),
}


def padded_side(side: int, first_padding: int) -> int:
    """Return the side of the first maps of a ConvNet on images of ``side`` px: two more per pixel of padding beyond 1.

    >>> padded_side(28, 3), padded_side(32, 1)
    (32, 32)
    """
    return side + 2 * (first_padding - 1)


def automatic_depth(side: int) -> int:
    """Return the ConvNet's blocks that leave about 4x4 positions: 3 for 32 px, 4 for 64, 5 for 128 (Sec. V-A).

    ``side`` is that of the first maps (`padded_side`). The one rule behind ``network.depth = 0``, which fingerprints
    rely on: 2 for 28 px without padding, 3 with the literature's. Presets of our own name a depth.
    """
    return max(1, (side // 4).bit_length() - 1)
