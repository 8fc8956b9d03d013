"""Where images come from: one function per kind of source, one interface."""

from ast_ray.data.sources.base import DecodedDataset, Source
from ast_ray.data.sources.registry import open_source

__all__ = ["DecodedDataset", "Source", "open_source"]
