"""Synthetic sets in the containers other people's tools read, and back; see docs/export.md."""

from ast_ray.storage.export.foreign import read_arrays
from ast_ray.storage.export.loading import load_set, set_file
from ast_ray.storage.export.writing import FORMATS, export_set

__all__ = ["FORMATS", "export_set", "load_set", "read_arrays", "set_file"]
