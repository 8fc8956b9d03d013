"""What every stage needs first: its device, its threads, the real images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

from ast_ray.config.settings import ComputeConfig, DataConfig
from ast_ray.core.precision import Precision, reproducible, tf32_allowed
from ast_ray.data.parallel import Mapper, Progress, no_progress, threads
from ast_ray.data.real import RealData, images_to_decode, load_dataset, load_real_data
from ast_ray.errors import ResourceError


def resolve_device(compute: ComputeConfig) -> torch.device:
    """Return the device of the settings.

    Raises:
        ResourceError: cuda asked for where there is none.
    """
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        raise ResourceError("compute.device = 'cuda': torch finds no GPU on this machine; use 'cpu' or 'auto'")
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")


@contextmanager
def torch_threads(count: int, *, precision: Precision = "float32") -> Iterator[None]:
    """Use ``count`` threads inside the block, the same bytes for the same work on a GPU, TF32 only by ``precision``.

    All are part of what makes bits reproducible, and torch's own default lets a GPU's convolutions round to TF32.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with reproducible(), tf32_allowed(precision == "tf32"):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=2)
def real_data(config: DataConfig, device: torch.device) -> RealData:
    """The real images, loaded once per process; on one thread, since the last bit of a sum depends on how many add."""
    with torch_threads(1):
        return load_real_data(config, device)


def prepare_images(
    config: DataConfig, *, mapper: Mapper = threads, progress: Progress = no_progress
) -> tuple[str, ...]:
    """Decode the images into the cache unless they are there; return what was left out, in words.

    Raises:
        DataError: the source cannot be read; ConfigError: it does not exist.
    """
    return load_dataset(config, mapper=mapper, progress=progress)[1].warnings


__all__ = ["images_to_decode", "prepare_images", "real_data", "resolve_device", "torch_threads"]
