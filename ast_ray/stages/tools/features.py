"""Features of real, starting and distilled images for the report (Fig. 10), which only torch can compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from ast_ray.config.identity import fingerprint, method_identity
from ast_ray.config.presets import method_config
from ast_ray.config.settings import Config
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream, stream_seed
from ast_ray.core.selection import features_of, initial_rows, representative_rows
from ast_ray.data.real import RealData
from ast_ray.errors import StoreError
from ast_ray.stages.device import torch_threads
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.records.features import whole_features
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.storage.synthetic import load_synthetic

FORMAT = 1
CLASSES, CLOUD = 3, 200


def write_features(plan: Plan, method: str) -> None:
    """Write the features of a few classes on their two principal axes into the run directory, unless they are there.

    The network is expert 0 of ``method`` at its last recorded epoch, the one that representative initialization looks
    through. The axes are those of up to `CLOUD` real training images per class; starting and distilled images are
    placed on the same axes.

    Raises:
        StoreError: no expert to look through.
    """
    if has_features(plan.directory, plan.config, method, plan.data.data_id):
        return
    config, wanted = plan.method(method), _wanted(plan.directory, plan.config, method, plan.data.data_id)
    with torch_threads(config.compute.threads):
        network = _expert(plan, method)
        classes = [_of_class(plan, method, network, label) for label in _shown(plan.data)]
    write_document(plan.directory.features, {**wanted, "method": method, "cloud": CLOUD, "classes": classes})


def _shown(data: RealData) -> list[int]:
    """Return the first classes whose training images are enough to fit two axes to."""
    counts = torch.bincount(data.train_labels, minlength=data.classes).tolist()
    return [label for label, count in enumerate(counts) if count > 2][:CLASSES]


def has_features(directory: RunDirectory, config: Config, method: str, data_id: str) -> bool:
    """Return whether the features of a run's images are there already; nothing but the run directory is read."""
    wanted, found = _wanted(directory, config, method, data_id), whole_features(directory.features)
    return found is not None and all(found.get(name) == value for name, value in wanted.items())


def _wanted(directory: RunDirectory, config: Config, method: str, data_id: str) -> dict[str, Any]:
    """Return the identity of the features of a method's images."""
    identity = method_identity(method_config(config, method), data_id, method)
    distilled = directory.method(method).synthetic.exists()
    return {"token": fingerprint({"format": FORMAT, "identity": identity}), "distilled": distilled}


def _expert(plan: Plan, method: str) -> Network:
    data, buffer = plan.data, plan.buffer(method)
    if not buffer.has(0):
        raise StoreError(f"{buffer.path(0)}: no expert to look through")
    network = build(plan.config.network, data.image_shape, data.classes, stream(plan.config.seed, "report", "layout"))
    network = network.to(data.train_images.device)
    (theta,) = buffer.segment(0, plan.method(method).expert.epochs, 0)
    load(network, FlatSpec.of(network), theta.to(data.train_images.device))
    return network


def _of_class(plan: Plan, method: str, network: Network, label: int) -> dict[str, Any]:
    data, config = plan.data, plan.method(method)
    ipc, seed = config.distill.ipc, config.seed
    members = torch.nonzero(data.train_labels.cpu() == label).flatten()
    order = torch.randperm(len(members), generator=stream(seed, "report", "cloud", label))
    cloud = _features(network, data, members[order[:CLOUD]])
    axes = PCA(n_components=2, svd_solver="full").fit(cloud)
    drawn = initial_rows("random-real", data.train_images, data.train_labels, data.classes, ipc, seed=seed)
    sets = {
        "real": cloud,
        "random": _features(network, data, drawn[label * ipc : (label + 1) * ipc].cpu()),
        "representative": _representative(plan, method, network, members, label),
    }
    if plan.directory.method(method).synthetic.exists():
        synthetic = load_synthetic(plan.directory.method(method).synthetic)
        sets["distilled"] = _flat(network, synthetic.images[synthetic.labels == label].to(data.train_images.device))
    places = {name: np.round(axes.transform(features), 4).tolist() for name, features in sets.items()}
    explained = [round(float(part), 4) for part in axes.explained_variance_ratio_]
    return {"name": data.class_names[label], "explained": explained, "points": places}


def _representative(plan: Plan, method: str, network: Network, members: Tensor, label: int) -> np.ndarray:
    """Features of the images nearest to the K-means centroids of the whole class, as `initial_rows` chooses them."""
    distill, seed = plan.method(method).distill, plan.config.seed
    features = _features(network, plan.data, members)
    clusters = distill.init_clusters or min(distill.ipc, 10)
    rows = representative_rows(features, distill.ipc, clusters, stream_seed(seed, "init", "kmeans", label))
    return features[rows]


def _features(network: Network, data: RealData, rows: Tensor) -> np.ndarray:
    return _flat(network, data.train_images[rows.to(data.train_images.device)])


def _flat(network: Network, images: Tensor) -> np.ndarray:
    found: np.ndarray = features_of(network, images).double().cpu().numpy()
    return found
