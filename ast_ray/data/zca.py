"""Fit ZCA once: on the GPU where there is one, and kept beside the decoded images for every later process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ast_ray.core.zca import Whitening
from ast_ray.errors import ResourceError, StoreError
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.checksum import intact, sealed
from ast_ray.storage.containers.tensors import Shape, read_tensors, require_tensors

ZCA_EPS = 0.1
_BATCH, _PARTS = 4096, ("mean", "vectors", "scale")


def fit_zca(images: Tensor, *, eps: float = ZCA_EPS, device: torch.device | str = "cpu") -> Whitening:
    """Fit T = U diag((S + eps)^-1/2) U^T on uint8 images [n, C, H, W], flattened CHW, covariance /(n - 1).

    Products and eigenvectors are float32, sums and eigenvalues (as Rayleigh quotients of those vectors) float64: faster
    than float64 throughout, and the eigenvalues are right to second order in the vectors' rounding.
    """
    size = images[0].numel()
    mean = _mean(images).to(device)
    covariance = torch.zeros(size, size, dtype=torch.float64, device=device)
    for part in images.split(_BATCH):
        centred = part.to(device).flatten(1).float() / 255 - mean.float()
        covariance += centred.T @ centred
    covariance /= max(1, len(images) - 1)
    vectors = torch.linalg.eigh(covariance.float()).eigenvectors
    values = (vectors * (covariance @ vectors.double())).sum(0)
    scale = (values.clamp(min=0) + eps).sqrt()
    return Whitening(mean.float().cpu(), vectors.float().cpu().contiguous(), scale.float().cpu())


def _mean(images: Tensor) -> Tensor:
    total = torch.zeros(images[0].numel(), dtype=torch.int64)
    for part in images.split(_BATCH):
        total += part.flatten(1).sum(0, dtype=torch.int64)
    return total.double() / (255 * len(images))


def cached_zca(images: Tensor, content_id: str, folder: Path, *, device: torch.device | str = "cpu") -> Whitening:
    """Read the fit of these images from ``folder``, or fit and keep it there (if the folder can be written).

    A damaged fit is made again.
    """
    path = folder / f"{content_id}-eps{ZCA_EPS:g}-zca.safetensors"
    size = images[0].numel()
    with suppress(StoreError):
        tensors, text = read_tensors(path)
        shapes: tuple[Shape, ...] = ((size,), (size, size), (size,))
        require_tensors(
            path, tensors, {name: (torch.float32, shape) for name, shape in zip(_PARTS, shapes, strict=True)}
        )
        if intact(tensors, text):
            return Whitening(*(tensors[name] for name in _PARTS))
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)  # once per cache: every process reads the same fit, whoever made it
    try:
        whitening = fit_zca(images, device=device)
    finally:
        torch.set_num_threads(before)
    try:
        with atomic_path(path) as temporary:
            tensors = {name: getattr(whitening, name) for name in _PARTS}
            save_file(tensors, temporary, sealed(tensors, {"content_id": content_id}))
    except ResourceError:
        pass
    return whitening
