"""Placement of the real images in training: float or uint8 on the device, or uint8 in the cache file on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from ast_ray.data.preprocess import Preprocessing

# Shares of a device's whole memory (not of what happens to be free: the choice must not differ from run to run).
GPU_FLOAT, GPU_BYTES = 0.3, 0.4


class StreamedImages:
    """Rows of uint8 images that become float batches in model space on a device when asked for (`core.images.Images`).

    The uint8 images may lie on the device, or be memory-mapped on the host: then a batch is read, normalised and sent.
    """

    def __init__(self, pixels: Tensor, rows: Tensor, preprocessing: Preprocessing, device: torch.device | str) -> None:
        """``pixels`` uint8 [m, C, H, W]; ``rows`` int64 [n] of them, in order."""
        self._pixels, self._rows = pixels, rows.to(pixels.device)
        self._preprocessing = preprocessing.to(pixels.device)
        self.device = torch.device(device)
        self.dtype = torch.float32

    @property
    def shape(self) -> torch.Size:
        """(n, C, H, W)."""
        return torch.Size((len(self._rows), *self._pixels.shape[1:]))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        chosen = self._rows[rows.to(self._rows.device)]
        return self._preprocessing(self._pixels[chosen]).to(self.device)

    def split(self, size: int, /) -> Iterator[Tensor]:
        """All images in order, ``size`` at a time."""
        for rows in self._rows.split(size):
            yield self._preprocessing(self._pixels[rows]).to(self.device)


def host_memory() -> int:
    """Bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def choose_placement(pixel_bytes: int, device: torch.device | str) -> Literal["float", "uint8", "stream"]:
    """Choose the placement that fits: ``pixel_bytes`` is the size of all images as uint8, four times that as float.

    On the CPU every worker process holds its own floats, so that a process may use a core's half share of the memory;
    streamed images are shared through the system's file cache.
    """
    place = torch.device(device)
    if place.type == "cuda":
        total = torch.cuda.get_device_properties(place).total_memory
        if 4 * pixel_bytes <= GPU_FLOAT * total:
            return "float"
        return "uint8" if pixel_bytes <= GPU_BYTES * total else "stream"
    share = host_memory() / (2 * (os.cpu_count() or 1))
    return "float" if 4 * pixel_bytes <= share else "stream"


def place(
    pixels: Tensor,
    rows: Tensor,
    preprocessing: Preprocessing,
    device: torch.device | str,
    placement: Literal["float", "uint8", "stream"],
) -> Tensor | StreamedImages:
    """Images ``rows`` of a split in model space: a float tensor on the device, or something that streams them."""
    if placement == "float":
        return preprocessing(pixels[rows]).to(device)
    if placement == "uint8":
        held = pixels[rows].to(device)
        return StreamedImages(held, torch.arange(len(rows)), preprocessing, device)
    return StreamedImages(pixels, rows, preprocessing, device)
