"""From the text of ``data.source`` to a source."""

from __future__ import annotations

from pathlib import Path

from ast_ray.config.settings import DataConfig
from ast_ray.data.sources.base import Source
from ast_ray.data.sources.digits import digits
from ast_ray.data.sources.parquet import parquet_folder
from ast_ray.data.sources.vision import cifar10
from ast_ray.errors import ConfigError, Problem, nearest

NAMES = ("digits", "cifar10")


def open_source(config: DataConfig) -> Source:
    """Find the source by name or path.

    Raises:
        ConfigError: neither a known name nor an existing folder.
    """
    if config.source == "digits":
        return digits()
    if config.source == "cifar10":
        return cifar10(Path(config.root).expanduser() / "cifar10", download=config.download)
    folder = Path(config.source).expanduser()
    if folder.is_dir():
        return parquet_folder(folder)
    reason = f"neither a known dataset nor an existing folder{nearest(config.source, NAMES)}"
    raise ConfigError([Problem("data.source", config.source, reason)])
