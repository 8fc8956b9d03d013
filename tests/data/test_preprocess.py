"""Mean and std: computed ones, the literature's, and the name they give the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from ast_ray.config.settings import DataConfig
from ast_ray.data.preprocess import LITERATURE, Preprocessing, channel_statistics
from ast_ray.data.real import load_real_data
from ast_ray.errors import ConfigError
from tests.data.sources.test_torchvision import StandIn


def test_statistics_are_numpys():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 5, 7), np.uint8)
    images[:, 2] = 9
    mean, std = channel_statistics(torch.from_numpy(images))
    np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std[:2], (images[:, :2] / 255).std((0, 2, 3)), rtol=1e-12)
    assert std[2] == 1e-3


def test_standard_is_subtract_and_divide():
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    result = Preprocessing((0.5, 0.2), (0.25, 0.1))(images)
    torch.testing.assert_close(result, torch.tensor([[[[-2.0, 2.0]], [[0.0, 2.0]]]]), atol=1e-6, rtol=0)


def test_training_images_have_mean_zero_and_deviation_one(tmp_path: Path):
    data = load_real_data(DataConfig(source="digits", root=str(tmp_path)))
    together = torch.cat([data.train_images[torch.arange(n)] for n in [len(data.train_images)]])
    assert abs(float(together.mean())) < 0.02
    assert abs(float(together.std()) - 1) < 0.02
    assert data.preprocessing.name == "computed"


def test_none_leaves_pixels(tmp_path: Path):
    data = load_real_data(DataConfig(source="digits", root=str(tmp_path), preprocess="none"))
    assert float(data.test_images[torch.arange(500)].max()) == 1.0


def test_a_known_dataset_has_the_literatures_constants_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(datasets, "CIFAR100", StandIn)
    found = {
        choice: load_real_data(DataConfig(source="cifar100", root=str(tmp_path), statistics=choice, validation_size=10))
        for choice in ("auto", "cifar10", "computed")
    }
    assert found["auto"].preprocessing.mean == LITERATURE["cifar100"][0]
    assert found["cifar10"].preprocessing.std == (0.2023, 0.1994, 0.2010)
    content = found["computed"].data_id
    assert [found[choice].data_id for choice in ("auto", "cifar10")] == [f"{content}-cifar100", f"{content}-cifar10"]


def test_constants_for_another_number_of_channels_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"data.statistics = 'cifar10': its constants are for 3 channels, .* have 1"):
        load_real_data(DataConfig(source="digits", root=str(tmp_path), statistics="cifar10"))


def test_the_unit_of_pixel_steps_is_the_deviation_of_the_training_images(tmp_path: Path) -> None:
    """1 for standardised images, the raw deviation without preprocessing, 1 where all values are equal."""
    plain = load_real_data(DataConfig(source="digits", root=str(tmp_path), preprocess="none"))
    assert plain.image_std == pytest.approx(float(plain.train_images[:].double().std()), rel=1e-9)
    assert 0.1 < plain.image_std < 0.9
    standard = load_real_data(DataConfig(source="digits", root=str(tmp_path)))
    assert standard.image_std == pytest.approx(1, abs=0.02)
    assert dataclasses.replace(plain, train_images=torch.zeros(5, 1, 2, 2), train_labels=torch.zeros(5)).image_std == 1
