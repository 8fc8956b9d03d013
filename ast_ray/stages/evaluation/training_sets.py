"""Training sets of evaluated networks: a synthetic set, a subset of the real images, or all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from ast_ray.config.full_data import full_epochs
from ast_ray.config.settings import Config, NetworkConfig
from ast_ray.core.images import Images
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream, stream_seed
from ast_ray.core.selection import (
    CORESETS,
    coreset_rows,
    correct_predictions,
    forgetting_events,
    forgotten_rows,
    initial_rows,
)
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.core.training import FIXED_RATE, TrainingRecipe, answers_of
from ast_ray.data.real import RealData
from ast_ray.errors import DataError
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.export import load_set

REAL_SETS = ("random", "representative", "herding", "k-centre", "forgetting", "full")
NEEDS_EXPERT = ("representative", *CORESETS, "forgetting")


class Training(NamedTuple):
    """Images [S, C, H, W], what to answer for them (labels int64 [S] or float [S, K]), and how to train on them.

    ``targets`` says of a set with soft labels whether they are trained on (``soft``) or its hard ones; else empty.
    """

    images: Images
    answers: Tensor
    recipe: TrainingRecipe
    targets: Literal["", "soft", "hard"] = ""


def training_set(
    source: str, protocol: str, index: int, config: Config, data: RealData, buffer: Buffer, network: NetworkConfig
) -> Training:
    """The set called ``source`` (one of `REAL_SETS`, or a path) with its recipe under a protocol on a network.

    Raises:
        DataError: the set does not fit the data; StoreError: it cannot be read.
    """
    if source not in REAL_SETS:
        return _synthetic(source, protocol, config, data, network)
    if source == "full":
        return Training(data.train_images, data.train_labels, _full_recipe(config, len(data.train_labels)))
    rows = _real_rows(source, index, config, data, buffer).to(data.train_images.device)
    recipe = TrainingRecipe.of(
        config.evaluate,
        lr=config.evaluate.real_lr,
        augmentation=config.distill.augmentation,
        siamese=config.distill.siamese,
        protocol=protocol,
    )
    return Training(data.train_images[rows], data.train_labels[rows], recipe)


def batch_size(source: str, protocol: str, config: Config) -> int:
    """Images of one training step, if the set has as many."""
    if source == "full":
        return config.expert.batch_size
    return TrainingRecipe.of(config.evaluate, lr=1.0, augmentation="none", protocol=protocol).batch_size


def lr_source(source: str, protocol: str, config: Config, network: NetworkConfig) -> str:
    """Return the origin of a job's learning rate: ``learned`` with the set, ``given``, ``real_lr`` or ``protocol``."""
    if source == "full":
        return "real_lr"
    if protocol in FIXED_RATE:
        return "protocol"
    if config.evaluate.lr or (source not in REAL_SETS and _transfer_lr(config, network)):
        return "given"
    if source in REAL_SETS:
        return "real_lr"
    return "real_lr" if load_set(Path(source)).provenance.get("student_lr") == "real_lr" else "learned"


def _transfer_lr(config: Config, network: NetworkConfig) -> float:
    return config.evaluate.transfer_lr if network != config.network else 0.0


def _full_recipe(config: Config, images: int) -> TrainingRecipe:
    """The rate decays in the middle, however many epochs it takes to train."""
    evaluate, epochs = config.evaluate, full_epochs(config, images)
    return TrainingRecipe(
        lr=evaluate.real_lr,
        passes=epochs,
        batch_size=config.expert.batch_size,
        momentum=evaluate.momentum,
        weight_decay=evaluate.weight_decay,
        lr_decay_pass=epochs // 2,
        lr_decay_factor=evaluate.lr_decay_factor,
        augmentation=config.distill.augmentation,
    )


def _real_rows(source: str, index: int, config: Config, data: RealData, buffer: Buffer) -> Tensor:
    """Random rows differ from network to network, chosen ones do not."""
    images = data.train_images
    labels = data.train_labels
    classes = data.classes
    ipc = config.distill.ipc
    if source == "random":
        return initial_rows(
            "random-real", images, labels, classes, ipc, seed=stream_seed(config.seed, "baseline", index)
        )
    if source == "forgetting":
        return forgotten_rows(forgetting_events(_answers(config, data, buffer)), labels, classes, ipc)
    network = embedding(config, data, buffer)
    if source == "representative":
        clusters = config.distill.init_clusters
        return initial_rows(
            "representative", images, labels, classes, ipc, seed=config.seed, network=network, clusters=clusters
        )
    return coreset_rows(source, images, labels, classes, ipc, network)


def _answers(config: Config, data: RealData, buffer: Buffer) -> Iterator[Tensor]:
    """Return expert 0's correct predictions after each of its epochs."""
    for epoch in range(1, config.expert.epochs + 1):
        yield correct_predictions(_expert(config, data, buffer, epoch), data.train_images, data.train_labels)


def embedding(config: Config, data: RealData, buffer: Buffer) -> Network:
    """The network that real images are looked at through: expert 0 after its last epoch."""
    return _expert(config, data, buffer, config.expert.epochs)


def _expert(config: Config, data: RealData, buffer: Buffer, epoch: int) -> Network:
    generator = stream(config.seed, "distill", "layout")
    network = build(config.network, data.image_shape, data.classes, generator).to(data.train_images.device)
    (theta,) = buffer.segment(0, epoch, 0)
    load(network, FlatSpec.of(network), theta.to(data.train_images.device))
    return network


def check_set(synthetic: SyntheticSet, source: str, data: RealData) -> None:
    """Refuse a set that was not distilled from images like these.

    Raises:
        DataError: another image shape or other classes.
    """
    shape, wanted = tuple(synthetic.images.shape[1:]), tuple(data.train_images.shape[1:])
    if shape != wanted:
        raise DataError(f"{source}: images are {shape}, the data's {wanted}")
    if synthetic.class_names != data.class_names:
        raise DataError(f"{source}: distilled for the classes {synthetic.class_names}, the data has {data.class_names}")


def _synthetic(source: str, protocol: str, config: Config, data: RealData, network: NetworkConfig) -> Training:
    synthetic = load_set(Path(source))
    check_set(synthetic, source, data)
    recipe = TrainingRecipe.of(
        config.evaluate,
        lr=_transfer_lr(config, network) or synthetic.student_lr,
        augmentation=synthetic.augmentation,
        siamese=synthetic.siamese,
        protocol=protocol,
    )
    answers = answers_of(synthetic.labels, synthetic.targets, synthetic.target_loss, protocol)
    soft: Literal["", "soft", "hard"] = "soft" if answers.is_floating_point() else "hard"
    device = data.train_images.device
    return Training(synthetic.images.to(device), answers.to(device), recipe, "" if synthetic.targets is None else soft)
