"""torchvision's datasets: read from its own files (MNIST) or from a stand-in with the same attributes."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from ast_ray.config.settings import DataConfig
from ast_ray.data.real import load_dataset
from ast_ray.errors import ConfigError, DataError


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


@pytest.mark.parametrize(
    ("name", "folder", "first"), [("mnist", "MNIST", "0 - zero"), ("fashion-mnist", "FashionMNIST", "T-shirt/top")]
)
def test_mnist_from_its_own_files(tmp_path: Path, name: str, folder: str, first: str):
    raw = tmp_path / name / folder / "raw"
    raw.mkdir(parents=True)
    rng, made = np.random.default_rng(0), {}
    for split, count in (("train", 20), ("t10k", 10)):
        made[split] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", made[split]), ("labels-idx1", labels)):
            (raw / f"{split}-{kind}-ubyte").write_bytes(idx(array))
            (raw / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    _, dataset, _ = load_dataset(DataConfig(source=name, root=str(tmp_path), download=False))
    np.testing.assert_array_equal(dataset.train_images[:, 0], made["train"])
    np.testing.assert_array_equal(dataset.test_images[:, 0], made["t10k"])
    assert dataset.train_labels.tolist() == [*range(10), *range(10)]
    assert dataset.class_names[0] == first


class StandIn:
    """What torchvision's classes offer once they are open."""

    def __init__(self, root: str, train: bool = True, split: str = "", download: bool = True) -> None:
        count = 20 if train and split != "test" else 10
        pixels = np.arange(count * 32 * 32 * 3, dtype=np.int64) % 256
        self.data = pixels.astype(np.uint8).reshape(count, 32, 32, 3)
        self.targets = [number % 10 for number in range(count)]
        self.classes = [f"c{number}" for number in range(10)]
        if split:
            self.data, self.labels = self.data.transpose(0, 3, 1, 2), np.array(self.targets)


@pytest.mark.parametrize(("name", "kind"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100"), ("svhn", "SVHN")])
def test_colour_sets_come_channels_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str):
    monkeypatch.setattr(datasets, kind, StandIn)
    source, dataset, _ = load_dataset(DataConfig(source=name, root=str(tmp_path)))
    expected = torch.from_numpy(StandIn("").data).permute(0, 3, 1, 2)
    assert torch.equal(dataset.train_images, expected)
    assert dataset.test_labels.tolist() == list(range(10))
    assert dataset.class_names[3] == ("3" if name == "svhn" else "c3")
    assert source.statistics == name


def test_a_dataset_that_is_not_there_says_what_to_do(tmp_path: Path):
    with pytest.raises(DataError, match=r"cifar100: torchvision could not provide it .*Parquet shards as data.source"):
        load_dataset(DataConfig(source="cifar100", root=str(tmp_path), download=False))


@pytest.mark.parametrize(("name", "hint"), [("cifar-10", "cifar10"), ("tinyimagenet", "tiny-imagenet")])
def test_the_nearest_name_is_offered(name: str, hint: str):
    with pytest.raises(ConfigError, match=f"neither a known dataset nor an existing path; did you mean '{hint}'"):
        load_dataset(DataConfig(source=name))


def test_a_file_of_another_kind(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"expected .npz or .parquet, or a folder"):
        load_dataset(DataConfig(source=str(tmp_path / "a.zip")))
