"""Choose real images: the starting images of a distillation (Sec. IV-C1), and the coresets it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.rng import stream, stream_seed
from ast_ray.errors import DataError, counted


@torch.no_grad()
def features_of(network: Network, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Features [n, F] before the linear layer, for images [n, C, H, W]."""
    return torch.cat([network.features(batch) for batch in images.split(batch_size)])


def representative_rows(features: np.ndarray, count: int, clusters: int, seed: int) -> list[int]:
    """Choose ``count`` rows of features [n, F]: the nearest to each K-means centroid, then the next nearest.

    Clusters share ``count`` evenly, the larger ones first; ipc = 50 with 10 clusters takes each centre's image and
    the 4 next nearest. A cluster with too few members is filled up with the nearest rows left over. Single-threaded, so
    that the result does not depend on the machine's load.
    """
    # A second to load, which every worker would pay; before the limit, which holds for libraries that are loaded.
    from sklearn.cluster import KMeans

    with threadpool_limits(1):
        kmeans = KMeans(clusters, n_init=3, random_state=seed % 2**32).fit(features)
    # one centre at a time: all at once would hold n x clusters x F numbers
    distance = np.stack([np.linalg.norm(features - center, axis=1) for center in kmeans.cluster_centers_], axis=1)
    sizes = np.bincount(kmeans.labels_, minlength=clusters)
    order = sorted(range(clusters), key=lambda cluster: (-sizes[cluster], cluster))
    chosen: list[int] = []
    for place, cluster in enumerate(order):
        quota = count // clusters + (place < count % clusters)
        members = np.flatnonzero(kmeans.labels_ == cluster)
        nearest = members[np.argsort(distance[members, cluster], kind="stable")]
        chosen += [int(row) for row in nearest[:quota]]
    if len(chosen) < count:
        taken = set(chosen)
        left = [int(row) for row in np.argsort(distance.min(axis=1), kind="stable") if int(row) not in taken]
        chosen += left[: count - len(chosen)]
    return chosen


def rows_by_class(labels: Tensor, classes: int, ipc: int) -> list[Tensor]:
    """Rows of each class, checked to hold at least ``ipc`` images."""
    rows = [torch.nonzero(labels.cpu() == label).flatten() for label in range(classes)]
    for label, members in enumerate(rows):
        if len(members) < ipc:
            raise DataError(f"class {label} has {counted(len(members), 'training image')}, ipc = {ipc} needs as many")
    return rows


def initial_rows(
    kind: Literal["representative", "random-real"],
    images: Images,
    labels: Tensor,
    classes: int,
    ipc: int,
    *,
    seed: int,
    network: Network | None = None,
    clusters: int = 0,
) -> Tensor:
    """Rows [S] of real images that start D_syn, class by class.

    Args:
        network: a trained expert, needed for ``representative``.
        clusters: K-means clusters per class; 0 = ipc up to 10 images, else 10.

    Raises:
        DataError: a class holds fewer than ``ipc`` images.
    """
    chosen = []
    for label, members in enumerate(rows_by_class(labels, classes, ipc)):
        if kind == "random-real":
            order = torch.randperm(len(members), generator=stream(seed, "init", "random", label))
            chosen.append(members[order[:ipc]])
            continue
        if network is None:
            raise ValueError("representative initialization needs a trained expert")
        features = features_of(network, images[members.to(images.device)]).double().cpu().numpy()
        wanted = clusters or min(ipc, 10)
        picked = representative_rows(features, ipc, wanted, stream_seed(seed, "init", "kmeans", label))
        chosen.append(members[torch.tensor(picked)])
    return torch.cat(chosen)


def initial_images(
    kind: Literal["representative", "random-real", "noise"],
    images: Images,
    labels: Tensor,
    classes: int,
    ipc: int,
    *,
    seed: int,
    network: Network | None = None,
    clusters: int = 0,
) -> tuple[Tensor, Tensor]:
    """Starting images [S, C, H, W] and labels int64 [S]; see `initial_rows`. Noise is standard normal."""
    synthetic_labels = torch.arange(classes).repeat_interleave(ipc).to(labels.device)
    if kind == "noise":
        rows_by_class(labels, classes, ipc)
        shape = (classes * ipc, *images.shape[1:])
        noise = torch.randn(shape, generator=stream(seed, "init", "noise"))
        return noise.to(images.device, images.dtype), synthetic_labels
    rows = initial_rows(kind, images, labels, classes, ipc, seed=seed, network=network, clusters=clusters)
    return images[rows.to(images.device)].clone(), synthetic_labels


def herding_rows(features: np.ndarray, count: int) -> list[int]:
    """Choose ``count`` rows of features [n, F] whose mean stays closest to the mean of all (Welling, ICML 2009).

    Row k+1 minimises || mean - (chosen sum + x) / (k + 1) ||.
    """
    mean, total = features.mean(axis=0), np.zeros(features.shape[1])
    chosen: list[int] = []
    for size in range(1, count + 1):
        distance = np.linalg.norm(mean - (total + features) / size, axis=1)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
        total += features[chosen[-1]]
    return chosen


def k_centre_rows(features: np.ndarray, count: int) -> list[int]:
    """Choose ``count`` rows of features [n, F] that leave no row far away (Gonzalez 1985; Sener and Savarese 2018).

    The first is nearest to the mean, each next one the farthest from those chosen.
    """
    first = int(np.linalg.norm(features - features.mean(axis=0), axis=1).argmin())
    chosen, gap = [first], np.linalg.norm(features - features[first], axis=1)
    while len(chosen) < count:
        gap[chosen] = -1.0
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(features - features[chosen[-1]], axis=1))
    return chosen


CORESETS: dict[str, Callable[[np.ndarray, int], list[int]]] = {"herding": herding_rows, "k-centre": k_centre_rows}


def coreset_rows(kind: str, images: Images, labels: Tensor, classes: int, ipc: int, network: Network) -> Tensor:
    """Rows [classes * ipc] of real images, class by class, seen through a trained network.

    Raises:
        DataError: a class holds fewer than ``ipc`` images.
    """
    chosen = []
    for members in rows_by_class(labels, classes, ipc):
        features = features_of(network, images[members.to(images.device)]).double().cpu().numpy()
        chosen.append(members[torch.tensor(CORESETS[kind](features, ipc))])
    return torch.cat(chosen)


@torch.no_grad()
def correct_predictions(network: Network, images: Images, labels: Tensor, *, batch_size: int = 500) -> Tensor:
    """Return for each real image [n, C, H, W] whether the network predicts its label: bool [n]."""
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    return torch.cat([network(x).argmax(1) == y for x, y in batches])


def forgetting_events(answers: Iterable[Tensor]) -> Tensor:
    """Count how often each image was forgotten during training (Toneva et al., ICLR 2019); float64 [n].

    Args:
        answers: bool [n] per recorded epoch: whether each image was classified correctly then.

    An event is a correct answer followed by a wrong one; an image that was never right counts as forgotten infinitely
    often. Toneva et al. look whenever an image is in a batch, which is once per epoch too; here at the end of epochs.
    """
    counts: Tensor | None = None
    for now in answers:
        if counts is None:
            counts = torch.zeros(len(now), dtype=torch.float64)
            before = torch.zeros_like(now)
            ever = now.clone()
        counts += (before & ~now).cpu()
        ever |= now
        before = now
    if counts is None:
        raise ValueError("forgetting needs the answers of at least one epoch")
    counts[~ever.cpu()] = float("inf")
    return counts


def forgotten_rows(events: Tensor, labels: Tensor, classes: int, ipc: int) -> Tensor:
    """Rows [classes * ipc] of the most often forgotten images of each class, from events [n].

    Raises:
        DataError: a class holds fewer than ``ipc`` images.
    """
    chosen = []
    for members in rows_by_class(labels, classes, ipc):
        order = torch.argsort(events[members], descending=True, stable=True)
        chosen.append(members[order[:ipc]])
    return torch.cat(chosen)
