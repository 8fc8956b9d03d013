"""Turn a network's settings into a network.

A record of `config.networks.NETWORKS` names the module, which has ``build`` and may have ``refuse``. A module is
imported when it is asked for: torchvision, of whose parts some networks are made, costs every worker two seconds.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import torch

from ast_ray.config.architectures import norm_of
from ast_ray.config.networks import NETWORKS
from ast_ray.config.settings import NetworkConfig
from ast_ray.core.networks.base import Network, initialize
from ast_ray.errors import ConfigError, Problem


def build(
    config: NetworkConfig, image_shape: tuple[int, int, int], classes: int, generator: torch.Generator
) -> Network:
    """Build and initialise a network for images ``(C, H, W)`` and ``classes`` outputs.

    Raises:
        ConfigError: the image is too small for the network, or its depth or width cannot be had.
    """
    module = import_module(f"ast_ray.core.networks.{NETWORKS[config.name].module}")
    problem = _problem(module, config, image_shape)
    if problem:
        raise ConfigError([problem])
    with torch.random.fork_rng(devices=[]):  # the framework's layers draw from the global state as they are made
        network: Network = module.build(config, image_shape, classes, norm_of(config))
    initialize(network, generator)
    return network


def _problem(module: ModuleType, config: NetworkConfig, image_shape: tuple[int, int, int]) -> Problem | None:
    height, width = image_shape[1:]
    smallest = NETWORKS[config.name].smallest
    if min(height, width) < smallest:
        reason = f"images are {height}x{width} px, the smallest it takes is {smallest} px a side"
        return Problem("network.name", config.name, reason)
    refuse = getattr(module, "refuse", None)
    problem: Problem | None = refuse(config, image_shape) if refuse else None
    return problem
