"""Networks for small images, built by name."""

from ast_ray.core.networks.base import Network, initialize
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.core.networks.registry import build

__all__ = ["ConvNet", "Network", "build", "initialize"]
