"""The preset for any data: a pure function of what the images are and of ipc."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from ast_ray.config import apply_overrides, check, expert_identity
from ast_ray.config.cost import network_cost
from ast_ray.config.engine import Machine, not_compiled
from ast_ray.config.identity import earlier_config
from ast_ray.config.presets import DATASETS, DatasetFacts, automatic, preset
from ast_ray.config.presets.automatic import depth_for

MINE = DatasetFacts("My Photos", 3, 3, 128, 240, 60)


@pytest.mark.parametrize(
    ("classes", "channels", "side", "train", "ipc"),
    [
        (k, c, s, n, i)
        for (k, n), c, s, i in itertools.product(
            [(2, 12), (3, 240), (10, 9_999), (10, 60_000), (1000, 1_000_000)],
            (1, 3),
            (5, 8, 28, 32, 64, 128),
            (1, 7, 50),
        )
    ],
)
def test_every_choice_is_valid_and_fits_the_data(classes: int, channels: int, side: int, train: int, ipc: int):
    config = check(automatic(DatasetFacts("x", classes, channels, side, train, 10), ipc))
    used = config.data.image_size or side
    assert used >> config.network.depth >= 1
    assert config.distill.ipc == ipc
    assert config.distill.batch_size <= ipc * classes
    assert ("color" in config.distill.augmentation) == (channels == 3)
    assert config.expert.augmentation == config.distill.augmentation


def test_a_few_own_photos_get_a_small_run():
    config = automatic(MINE, 1)
    assert config.preset == "my-photos-ipc1"
    assert (config.data.image_size, config.network.width, config.network.depth) == (32, 32, 3)
    assert (config.expert.count, config.expert.batch_size, config.distill.iterations) == (4, 16, 200)
    assert config.expert.penalty_weight == 0.1, "at 1 experts of few images take paths that no student follows"
    steps = config.expert.epochs * (MINE.train // config.expert.batch_size)
    assert steps >= 100
    assert automatic(dataclasses.replace(MINE, image_size=16), 1).data.image_size == 0


def test_many_images_get_the_cell_of_the_most_similar_dataset():
    many = dataclasses.replace(MINE, train=50_000)
    for side, classes, cell in ((32, 10, "cifar10"), (32, 90, "cifar100"), (64, 10, "tiny"), (128, 10, "nette")):
        config = automatic(dataclasses.replace(many, image_size=side, classes=classes), 10)
        assert (config.distill.outer, config.distill.student_lr) == ("normalized", 0.0)
        assert config.distill.syn_steps == preset(f"{cell}-ipc10").distill.syn_steps
        assert (config.network.width, config.data.preprocess, config.data.statistics) == (128, "standard", "auto")


def test_known_datasets_get_their_own_cells():
    assert automatic(DATASETS["cifar10"], 10) == preset("cifar10-ipc10")
    assert automatic(DATASETS["nette"], 1) == preset("nette-ipc1")
    assert automatic(DATASETS["digits"], 1) == preset("digits")
    five = automatic(DATASETS["cifar100"], 5)
    assert five.preset == "cifar100-ipc5"
    published = preset("cifar100-ipc10").distill
    assert published.outer == "sgd", "a published cell keeps its published update"
    assert (five.distill.outer, five.distill.student_lr) == ("normalized", 0.0)
    for name in ("syn_steps", "expert_epochs", "max_start_epoch", "batch_size", "rho", "augmentation"):
        assert getattr(five.distill, name) == getattr(published, name)
    assert automatic(DATASETS["cifar100"], 1).distill.batch_size == 0
    assert automatic(DATASETS["digits"], 3).distill.ipc == 3


def test_a_subset_of_a_known_dataset_gets_a_small_run():
    few = dataclasses.replace(DATASETS["cifar10"], train=2000)
    config = automatic(few, 1)
    assert (config.preset, config.network.width, config.data.source) == ("cifar10-small-ipc1", 32, "cifar10")
    assert (config.distill.outer, config.data.preprocess) == ("normalized", "standard")


@pytest.mark.parametrize("train", [12, 45, 62, 240, 1000, 2560, 10_000])
def test_matching_reaches_about_as_many_expert_steps_whatever_the_number_of_images(train: int):
    config = automatic(dataclasses.replace(MINE, train=train), 1)
    steps = -(-train // config.expert.batch_size)
    reached = (config.distill.max_start_epoch - 1 + config.distill.expert_epochs) * steps
    assert 60 <= reached <= 250
    assert config.distill.syn_steps >= config.distill.expert_epochs
    assert config.expert.epochs >= config.distill.max_start_epoch - 1 + config.distill.expert_epochs


def test_operations_make_sense():
    assert automatic(DATASETS["mnist"], 1).distill.augmentation == "crop_cutout_scale_rotate"
    assert automatic(DATASETS["svhn"], 1).expert.augmentation == "color_crop_cutout_scale_rotate"
    assert "flip" in automatic(DATASETS["fashion-mnist"], 1).distill.augmentation
    assert automatic(DATASETS["mnist"], 1).network.depth == 3


def test_depth():
    assert [depth_for(side) for side in (5, 8, 16, 28, 32, 64, 128, 224)] == [1, 1, 2, 3, 3, 4, 5, 5]


@pytest.mark.parametrize("train", [60_000, 2_000])
def test_grey_images_of_28_px_have_the_literatures_padding(train: int):
    grey = automatic(DatasetFacts("letters", 10, 1, 28, train, 100), 1)
    assert (grey.network.first_padding, grey.network.depth) == (3, 3)
    facts = dataclasses.replace(DATASETS["mnist"], train=train)
    for other in (dataclasses.replace(facts, channels=3), dataclasses.replace(facts, image_size=32)):
        assert automatic(other, 1).network.first_padding == 1
    assert network_cost(grey, DatasetFacts("letters", 10, 1, 28, train, 100)).parameters == {
        128: 317_706, 32: 1 * 32 * 9 + 32 * 3 + 2 * (32 * 32 * 9 + 32 * 3) + (32 * 16 + 1) * 10
    }[grey.network.width]  # fmt: skip


def test_padding_of_earlier_versions_is_none_and_leaves_their_identities():
    config = earlier_config({"network": {"width": 8}})
    assert config.network.first_padding == 1
    assert "first_padding" not in expert_identity(config, "data")["network"]
    padded = apply_overrides(config, {"network.first_padding": 3})
    assert expert_identity(padded, "data")["network"]["first_padding"] == 3
    other = apply_overrides(padded, {"network.name": "mlp"})
    assert "first_padding" not in expert_identity(other, "data")["network"]
    assert not_compiled(padded, Machine("cpu", 2**34, compiler=True)).startswith("only ConvNet")
