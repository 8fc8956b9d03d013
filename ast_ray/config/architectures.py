"""Networks by name: ``resnet18``, ``vgg11-bn``, ``convnet-w64-d4``. One text names a network's settings."""

from __future__ import annotations

import dataclasses
import re

from ast_ray.config.networks import NETWORKS
from ast_ray.config.schema import schema
from ast_ray.config.settings import NetworkConfig
from ast_ray.errors import suggestion

_SUFFIXES = {"in": "instance", "bn": "batch", "nn": "none"}
EXAMPLES = (*NETWORKS, "convnet-bn", "alexnet-bn", "vgg11-bn", "resnet18-bn", "convnet-w64", "convnet-d4", "convnet-nn")


def norm_of(config: NetworkConfig) -> str:
    """The norm a network carries: its own unless the settings name one."""
    return NETWORKS[config.name].norms[0] if config.norm == "default" else config.norm


def architecture(text: str, base: NetworkConfig) -> NetworkConfig:
    """Read ``name[-wWIDTH][-dDEPTH][-bn|-in|-nn]`` (batch, instance, no norm).

    What the text leaves open is ``base``'s if that is the same architecture, else the default.

    Raises:
        ValueError: unknown name or suffix, or a variant the architecture does not have, with the nearest; a size out of
            bounds.
    """
    name, *suffixes = text.split("-")
    if name not in NETWORKS:
        raise ValueError(f"unknown network{suggestion(text, EXAMPLES)}")
    changes: dict[str, object] = {}
    for suffix in suffixes:
        size = re.fullmatch(r"([wd])([1-9]\d*)", suffix)
        if size and NETWORKS[name].sized:
            what = "width" if size[1] == "w" else "depth"
            changes[what] = schema()[f"network.{what}"].parse(size[2])
        elif _SUFFIXES.get(suffix) in NETWORKS[name].norms:
            changes["norm"] = _SUFFIXES[suffix]
        else:
            raise ValueError(f"{name} has no variant {suffix!r}{suggestion(text, EXAMPLES)}")
    config = base if base.name == name else NetworkConfig(name=name)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]
