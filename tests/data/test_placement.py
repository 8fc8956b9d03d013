"""Images that do not fit stream in batches, with the very same values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ast_ray.config import apply_overrides
from ast_ray.config.settings import DataConfig
from ast_ray.core.experts.training import train_expert
from ast_ray.core.images import Images
from ast_ray.core.networks import build
from ast_ray.core.rng import stream
from ast_ray.core.selection import initial_images
from ast_ray.core.training import score
from ast_ray.data import placement
from ast_ray.data.placement import StreamedImages, choose_placement
from ast_ray.data.real import RealData, load_real_data
from tests import documents
from tests.tiny import serial_run, tiny_config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def load(root: Path, where: str) -> RealData:
    return load_real_data(DataConfig(source="digits", root=str(root), train_size=60, placement=where))


@pytest.mark.parametrize("where", ["uint8", "stream"])
def test_streamed_images_behave_like_the_tensor(root: Path, where: str):
    whole, streamed = load(root, "float"), load(root, where)
    assert isinstance(streamed.train_images, StreamedImages)
    assert streamed.image_shape == whole.image_shape
    for name in ("train_images", "validation_images", "test_images"):
        tensor: Images = getattr(whole, name)
        images: Images = getattr(streamed, name)
        assert isinstance(tensor, torch.Tensor)
        assert (images.shape, len(images), images.device, images.dtype) == (
            tensor.shape,
            len(tensor),
            tensor.device,
            tensor.dtype,
        )
        rows = torch.tensor([5, 0, 5, 17])
        assert torch.equal(images[rows], tensor[rows])
        parts = list(images.split(32))
        assert [len(part) for part in parts] == [len(part) for part in tensor.split(32)]
        assert torch.equal(torch.cat(parts), tensor)


def test_experts_scores_and_initial_images_are_the_same_bytes(root: Path):
    config = tiny_config(root)
    results = []
    for where in ("float", "stream"):
        data = load(root, where)
        network = build(config.network, data.image_shape, 10, stream(0, "n"))
        *_, last = train_expert(network, data.train_images, data.train_labels, config.expert, seed=0, expert_id=0)
        images, _ = initial_images(
            "representative", data.train_images, data.train_labels, 10, 2, seed=0, network=network
        )
        noise, _ = initial_images("noise", data.train_images, data.train_labels, 10, 1, seed=0)
        results.append((last.theta, images, noise, score(network, data.test_images, data.test_labels)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_whole_run_streams(root: Path, tmp_path: Path):
    config = tiny_config(root, {"run.methods": "ast", "evaluate.networks": "1"})
    runs = {}
    for where in ("float", "stream"):
        plan = serial_run(apply_overrides(config, {"data.placement": where}), tmp_path / where)
        rows = documents.content(plan.directory.results)["rows"]
        runs[where] = {row["set"]: row["accuracies"] for row in rows}
    assert runs["float"] == runs["stream"]
    assert runs["float"].keys() >= {"ast", "random", "full"}


def test_the_choice_depends_on_what_fits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placement, "host_memory", lambda: 16 * 2**30)
    monkeypatch.setattr(placement.os, "cpu_count", lambda: 4)
    assert choose_placement(2**29, "cpu") == "float"  # 2 GiB as float, a core's half share
    assert choose_placement(2**29 + 1, "cpu") == "stream"

    class Gpu:
        total_memory = 10 * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Gpu)
    assert choose_placement(int(0.74 * 2**30), "cuda") == "float"
    assert choose_placement(int(0.76 * 2**30), "cuda") == "uint8"
    assert choose_placement(int(4.1 * 2**30), "cuda") == "stream"
