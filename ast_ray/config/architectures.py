"""Networks by name: ``resnet18``, ``vgg11-bn``, ``convnet-w64-d4``. One text names a network's settings."""

from __future__ import annotations

import dataclasses
import re

from ast_ray.config.schema import schema
from ast_ray.config.settings import NetworkConfig
from ast_ray.errors import nearest

# Norms each architecture can carry, its own first.
NORMS = {
    "convnet": ("instance", "batch", "none"),
    "alexnet": ("none", "instance", "batch"),
    "vgg11": ("instance", "batch", "none"),
    "resnet18": ("instance", "batch"),
    "mlp": ("none",),
    "vit": ("layer",),
}
SIZED = ("convnet", "mlp", "vit")
_SUFFIXES = {"in": "instance", "bn": "batch", "nn": "none"}
EXAMPLES = (*NORMS, "convnet-bn", "alexnet-bn", "vgg11-bn", "resnet18-bn", "convnet-w64", "convnet-d4", "convnet-nn")


def norm_of(config: NetworkConfig) -> str:
    """The norm a network carries: its own unless the settings name one."""
    return NORMS[config.name][0] if config.norm == "default" else config.norm


def architecture(text: str, base: NetworkConfig) -> NetworkConfig:
    """Read ``name[-wWIDTH][-dDEPTH][-bn|-in|-nn]`` (batch, instance, no norm).

    What the text leaves open is ``base``'s if that is the same architecture, else the default.

    Raises:
        ValueError: unknown name or suffix, or a variant the architecture does not have, with the nearest; a size out of
            bounds.
    """
    name, *suffixes = text.split("-")
    if name not in NORMS:
        raise ValueError(f"unknown network{nearest(text, EXAMPLES)}")
    changes: dict[str, object] = {}
    for suffix in suffixes:
        size = re.fullmatch(r"([wd])([1-9]\d*)", suffix)
        if size and name in SIZED:
            what = "width" if size[1] == "w" else "depth"
            changes[what] = schema()[f"network.{what}"].parse(size[2])
        elif _SUFFIXES.get(suffix) in NORMS[name]:
            changes["norm"] = _SUFFIXES[suffix]
        else:
            raise ValueError(f"{name} has no variant {suffix!r}{nearest(text, EXAMPLES)}")
    config = base if base.name == name else NetworkConfig(name=name)  # type: ignore[arg-type]
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]
