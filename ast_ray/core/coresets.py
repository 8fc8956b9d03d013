"""Real images that stand for their class: herding and k-centre in feature space, and the most often forgotten ones.

Nothing is drawn: the same features or answers give the same rows; ties go to the lower row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from ast_ray.core.images import Images
from ast_ray.core.initialization import features_of, rows_by_class
from ast_ray.core.networks import Network


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
def answered_correctly(network: Network, images: Images, labels: Tensor, *, batch_size: int = 500) -> Tensor:
    """Which of the real images [n, C, H, W] the network classifies as labelled: bool [n]."""
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
            counts, before, ever = torch.zeros(len(now), dtype=torch.float64), torch.zeros_like(now), now.clone()
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
