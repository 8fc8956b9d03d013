"""From pixels to model space: mean and std per channel (computed, or the literature's), or ZCA whitening.

ZCA is fitted once, on the GPU where there is one, and kept beside the decoded images for every later process.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
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
_BATCH = 4096
_PARTS = ("mean", "vectors", "scale")


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


# Constants on the scale [0, 1], as this line of work uses them. CIFAR-10's std is not the one over all pixels
# (.2470, .2435, .2616, which `computed` gives) but the mean of the deviations within each image.
LITERATURE: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2861,), (0.3530,)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "tiny-imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A fitted preprocessing; with ``whitening`` mean and std are unused.

    ``name`` says which constants: computed, none, zca, or the dataset whose literature values they are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: Whitening | None = None
    name: str = "computed"

    def __call__(self, images: Tensor, *, batch_size: int = _BATCH) -> Tensor:
        """uint8 [n, C, H, W] -> float32 [n, C, H, W] in model space, on the images' device."""
        return torch.cat([self._batch(part.float() / 255) for part in images.split(batch_size)])

    def _batch(self, pixels: Tensor) -> Tensor:
        if self.whitening is not None:
            return self.whitening.apply(pixels)
        shape, device = (1, -1, 1, 1), pixels.device
        mean, std = (torch.tensor(values, device=device).view(shape) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def to(self, device: torch.device | str) -> Preprocessing:
        """The same preprocessing for images on another device."""
        whitening = None if self.whitening is None else self.whitening.to(device)
        return Preprocessing(self.mean, self.std, whitening, self.name)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of uint8 images [n, C, H, W], on the scale [0, 1]; deviation at least 1e-3.

    Exact: from how often each of the 256 values occurs.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for part in images.split(_BATCH):
        for channel in range(images.shape[1]):
            counts[channel] += torch.bincount(part[:, channel].flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    share = counts.double() / counts.sum(1, keepdim=True)
    mean = share @ values
    variance = (share * (values - mean[:, None]).square()).sum(1)
    return tuple(mean.tolist()), tuple(variance.sqrt().clamp(min=1e-3).tolist())
