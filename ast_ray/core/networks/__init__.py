"""Networks for small images, built by name."""

from ast_ray.core.networks.alexnet import AlexNet
from ast_ray.core.networks.base import Network, initialize
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.core.networks.mlp import MLP
from ast_ray.core.networks.registry import automatic_depth, build
from ast_ray.core.networks.resnet import ResNet18
from ast_ray.core.networks.vgg import VGG11
from ast_ray.core.networks.vit import VisionTransformer

__all__ = [
    "MLP",
    "VGG11",
    "AlexNet",
    "ConvNet",
    "Network",
    "ResNet18",
    "VisionTransformer",
    "automatic_depth",
    "build",
    "initialize",
]
