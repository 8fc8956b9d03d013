"""Real images that stand for their class, chosen in feature space: herding and k-centre.

Both are greedy and draw nothing: the same features give the same rows; ties go to the lower row.
"""

from __future__ import annotations

from collections.abc import Callable

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
