"""All of CIFAR-10 from its Parquet shards: the constants everyone knows, and the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.config.settings import DataConfig
from ast_ray.data.ingest import decoded
from ast_ray.data.preprocess import LITERATURE, channel_statistics
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import DecodedDataset, open_source

MEAN, STD = (0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)


@pytest.fixture(scope="module")
def loaded(cifar10_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DataConfig, DecodedDataset, str]:
    config = DataConfig(source=str(cifar10_folder), root=str(tmp_path_factory.mktemp("cifar10")))
    _, dataset, identity = load_dataset(config)
    return config, dataset, identity


def test_counts_and_names(loaded: tuple[DataConfig, DecodedDataset, str]):
    _, dataset, _ = loaded
    assert dataset.train_images.shape == (50_000, 3, 32, 32)
    assert dataset.train_labels.bincount().tolist() == [5000] * 10
    assert dataset.test_labels.bincount().tolist() == [1000] * 10
    assert (dataset.class_names[0], dataset.class_names[9]) == ("airplane", "truck")


def test_mean_and_std_are_the_known_constants(loaded: tuple[DataConfig, DecodedDataset, str]):
    mean, std = channel_statistics(loaded[1].train_images)
    assert mean == pytest.approx(MEAN, abs=1e-4)
    assert std == pytest.approx(STD, abs=1e-4)


def test_the_literatures_std_is_the_mean_of_the_images_own(loaded: tuple[DataConfig, DecodedDataset, str]):
    parts = [(part.float() / 255).flatten(2).std(2) for part in loaded[1].train_images.split(5000)]
    average = sum(part.double().mean(0) for part in parts) / len(parts)
    assert average.tolist() == pytest.approx(LITERATURE["cifar10"][1], abs=1e-4)


def test_the_cache_holds_the_same(loaded: tuple[DataConfig, DecodedDataset, str]):
    config, dataset, identity = loaded

    def no_decoding(*_: object) -> None:
        raise AssertionError("decoded again")

    again, name = decoded(open_source(config), config, mapper=no_decoding)
    assert name == identity == again.content_id()
    assert again.notes == dataset.notes
