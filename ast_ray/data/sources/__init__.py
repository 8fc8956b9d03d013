"""Sources of images: one function per kind of source, one interface."""

from ast_ray.data.sources.base import DecodedDataset, Source
from ast_ray.data.sources.registry import image_trees, open_source

__all__ = ["DecodedDataset", "Source", "image_trees", "open_source"]
