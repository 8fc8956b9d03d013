"""Flipped bytes: whatever is read from a damaged file is what was written, or the file is refused."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import ast_ray
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data import cache
from ast_ray.data.cache import CacheWriter
from ast_ray.data.decode import Target
from ast_ray.data.preprocess import cached_zca, fit_zca
from ast_ray.errors import StoreError
from ast_ray.storage import checksum, trajectory
from ast_ray.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ast_ray.storage.export import FORMATS, export_set
from ast_ray.storage.synthetic import pack, save_synthetic
from ast_ray.storage.trajectory import TrajectoryWriter, read_metadata, read_metrics, read_segment

PIXELS = (torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)


@dataclass(frozen=True)
class Damage:
    """What became of every flipped byte."""

    refused: int
    same: int
    changed: list[int]

    @classmethod
    def of(cls, file: Path, read: Callable[[], object], *, step: int = 1, refusal: Any = StoreError) -> Damage:
        """Flip one byte after the other, each in another way, and read."""
        whole, wanted = file.read_bytes(), read()
        refused, same, changed = 0, 0, []
        for place in range(0, len(whole), step):
            spoilt = bytearray(whole)
            spoilt[place] ^= (1, 2, 4, 8, 16, 32, 64, 128, 255, 0x15)[(place // step) % 10]
            file.write_bytes(spoilt)
            try:
                found = read()
            except refusal:
                refused += 1
                continue
            if found == wanted:
                same += 1
            else:
                changed.append(place)
        file.write_bytes(whole)
        assert read() == wanted
        return cls(refused, same, changed)


def example() -> SyntheticSet:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(4, 1, 3, 3, generator=generator), torch.tensor([0, 0, 1, 1])
    about = {"method": "ast", "config": {"data": {"source": "digits"}}}
    return SyntheticSet(images, labels, 0.0123, ("cat", "dog"), "flip", True, (0.0,), (1.0,), fit_zca(PIXELS), about)


def soft_example() -> SyntheticSet:
    rows = torch.randn(4, 2, generator=torch.Generator().manual_seed(2))
    return dataclasses.replace(example(), targets=rows, target_loss="mse")


def values_of(found: SyntheticSet) -> tuple[object, ...]:
    tensors, description = pack(found)
    return {name: tensor.tolist() for name, tensor in tensors.items()}, {**description, "provenance": None}


def read_expert(path: Path, epochs: int) -> tuple[object, ...]:
    trajectory._open_files.clear()
    weights = [theta.tobytes() for theta in read_segment(path, range(epochs))]
    return read_metadata(path), repr(read_metrics(path)), weights


def write_expert(path: Path, *, storage: str = "float32", epochs: int = 2, parameters: int = 5) -> None:
    generator = np.random.default_rng(0)
    about = {"fingerprint": "ab" * 8, "expert_id": 0, "identity": {"seed": 0, "expert": {"lr": 0.003}}}
    with TrajectoryWriter.create(path, parameters, about, storage=storage) as writer:
        for epoch in range(epochs):
            metrics = {"train_loss": 0.5, "penalty": 0.1, "validation_accuracy": 0.25, "move": float(epoch)}
            writer.append(epoch, generator.standard_normal(parameters, np.float32), metrics)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy and torch warn of odd headers before they refuse them
        yield


@pytest.mark.parametrize("storage", ["float32", "bf16"])
def test_an_expert(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "expert-00000.parquet"
    write_expert(path, storage=storage)
    found = Damage.of(path, lambda: read_expert(path, 2), step=7)
    assert found.changed == []
    assert found.refused > 2 * found.same


def test_every_byte_of_an_experts_weights(tmp_path: Path) -> None:
    path = tmp_path / "expert-00000.parquet"
    write_expert(path, epochs=1, parameters=40)
    whole = path.read_bytes()
    (theta,) = read_segment(path, [0])
    start = whole.index(theta.tobytes())
    for place in range(start, start + theta.nbytes):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        trajectory._open_files.clear()
        with pytest.raises(StoreError, match="damaged"):
            read_segment(path, [0])


@pytest.mark.parametrize("make", [example, soft_example])
def test_a_synthetic_set(tmp_path: Path, make: Callable[[], SyntheticSet]) -> None:
    path = tmp_path / "synthetic.safetensors"
    save_synthetic(path, make())
    found = Damage.of(path, lambda: values_of(ast_ray.load(path)), step=2)
    assert found.changed == []
    assert found.same <= len(checksum.KEY)  # without its name the checksum is one of those that were not yet written


def test_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    tensors = {"images": torch.randn(2, 3), "student_lr": torch.tensor(0.5), "count": torch.tensor([1, 2])}
    write_checkpoint(path, Checkpoint("ab" * 8, tensors, {"iteration": 3, "best": None, "recent": [0.5, 1.0]}))

    def read() -> object:
        found = read_checkpoint(path, "ab" * 8)
        assert found is not None
        return {name: (str(item.dtype), item.tolist()) for name, item in found.tensors.items()}, found.values

    found = Damage.of(path, read)
    assert found.changed == []
    assert found.same <= len(checksum.KEY)


@pytest.mark.parametrize("make", [example, soft_example])
@pytest.mark.parametrize("container", FORMATS)
def test_an_export(tmp_path: Path, container: str, make: Callable[[], SyntheticSet]) -> None:
    folder = export_set(make(), tmp_path / container, container)
    files = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".parquet", ".npz", ".pt")]
    files = [path for path in files if not path.name.endswith("_best.pt")]  # not read back
    for file in files:
        found = Damage.of(
            file, lambda: values_of(ast_ray.load(folder)), step=5 if file.suffix == ".safetensors" else 13
        )
        assert found.changed == [], file.name
        assert found.refused > found.same, file.name


def test_decoded_images_and_their_labels(tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    with CacheWriter(path, Target(3, 3, 1), {"source": "digits", "class_names": ["cat", "dog"]}) as writer:
        writer.append("train", PIXELS[:4].numpy(), [0, 1, 0, 1])
        writer.append("test", PIXELS[4:6].numpy(), [0, 1])
        writer.finish([], [])
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    used = len(whole[:header].rstrip(b" "))

    def read() -> object:
        found = cache.read_cached(path)
        if found is None:
            raise StoreError("damaged")
        names = ("train_images", "train_labels", "test_images", "test_labels")
        return [getattr(found[0], name).tolist() for name in names], found[0].class_names, found[1]

    for start, stop in ((0, used), (header, len(whole))):
        path.write_bytes(whole)
        assert _changed(path, range(start, stop), read) == []


def _changed(path: Path, places: range, read: Callable[[], object]) -> list[int]:
    whole, wanted, changed = path.read_bytes(), read(), []
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            found = read()
        except StoreError:
            continue
        if found != wanted:
            changed.append(place)
    return changed


def test_a_fit_of_zca_is_made_again(tmp_path: Path) -> None:
    wanted = cached_zca(PIXELS, "content", tmp_path)
    (path,) = tmp_path.glob("*-zca.safetensors")
    whole = path.read_bytes()
    for place in range(len(whole) - 300, len(whole), 50):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        again = cached_zca(PIXELS, "content", tmp_path)
        for name in ("mean", "vectors", "scale"):
            assert torch.equal(getattr(again, name), getattr(wanted, name))
        with safe_open(path, framework="pt") as file:
            assert torch.equal(file.get_tensor("vectors"), wanted.vectors)


def test_what_was_written_without_checksums_is_read(tmp_path: Path) -> None:
    original = example()
    tensors, description = pack(original)
    del description[checksum.KEY]
    save_file(tensors, tmp_path / "synthetic.safetensors", {"description": json.dumps(description)})
    assert values_of(ast_ray.load(tmp_path)) == values_of(original)
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, Checkpoint("ab" * 8, {"x": torch.ones(2)}, {"iteration": 1}))
    with safe_open(path, framework="pt") as file:
        header = {name: value for name, value in file.metadata().items() if name != checksum.KEY}
    save_file({"x": torch.ones(2)}, path, header)
    found = read_checkpoint(path, "ab" * 8)
    assert found is not None
    assert found.values == {"iteration": 1}


def test_an_expert_without_a_checksum_of_its_footer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "expert-00000.parquet"
    write_expert(path)
    wanted = read_expert(path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(trajectory, "FOOTER_KEY", "something else")
        patch.setattr(trajectory, "seal_footer", lambda _path: None)
        write_expert(path)
    assert b"ast_ray_footer_sha256" not in path.read_bytes()
    assert read_expert(path, 2) == wanted
