"""Real images: listed, decoded once into a cache, checked, split and normalised. No Ray."""

from ast_ray.data.preprocess import Preprocessing
from ast_ray.data.real import RealData, load_real_data
from ast_ray.data.sources import DecodedDataset, open_source

__all__ = ["DecodedDataset", "Preprocessing", "RealData", "load_real_data", "open_source"]
