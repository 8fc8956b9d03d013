from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ast_ray.config import ComputeConfig, Config
from ast_ray.data.real import load_real_data
from ast_ray.errors import ResourceError
from ast_ray.stages.device import real_data, resolve_device, torch_threads


def test_a_gpu_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match=r"compute\.device = 'cuda': torch finds no GPU"):
        resolve_device(ComputeConfig(device="cuda"))
    assert resolve_device(ComputeConfig(device="auto")) == torch.device("cpu")
    assert resolve_device(ComputeConfig(device="cpu")) == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device(ComputeConfig(device="auto")) == torch.device("cuda")
    assert resolve_device(ComputeConfig(device="cpu")) == torch.device("cpu")


def test_threads_are_put_back_after_an_error() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with torch_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("preprocess", ["standard", "zca"])
def test_the_images_do_not_depend_on_the_threads_of_the_process(
    tiny: Callable[..., Config], tmp_path: Path, preprocess: str
) -> None:
    config = tiny(data__preprocess=preprocess).data
    with torch_threads(1):
        expected = load_real_data(config)
    real_data.cache_clear()
    with torch_threads(3):
        found = real_data(config, torch.device("cpu"))
    real_data.cache_clear()
    assert found.preprocessing.mean == expected.preprocessing.mean
    assert found.preprocessing.std == expected.preprocessing.std
    assert torch.equal(found.train_images, expected.train_images)
    assert torch.equal(found.test_images, expected.test_images)


def test_the_images_are_loaded_once_per_process(tiny: Callable[..., Config]) -> None:
    config = tiny().data
    assert real_data(config, torch.device("cpu")) is real_data(config, torch.device("cpu"))


def test_every_stage_is_reproducible_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with torch_threads(1):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
