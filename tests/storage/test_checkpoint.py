from __future__ import annotations

import pickle
from pathlib import Path
from typing import TypedDict

import pytest
import torch
from safetensors.torch import save_file

from ast_ray.errors import StoreError
from ast_ray.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    tensors = {
        "images": torch.randn(2, 1, 3, 3).transpose(2, 3),
        "alpha": torch.tensor(0.1),
        "double": torch.tensor([1 / 3], dtype=torch.float64),
    }
    values = {"iteration": 4, "recent": [0.1 + 0.2, 1e-320], "best": None}
    path = tmp_path / "run" / "checkpoint.safetensors"
    write_checkpoint(path, Checkpoint("abc", tensors, values))
    found = read_checkpoint(path, "abc")
    assert found is not None
    assert found.values == values
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape
        assert torch.equal(found.tensors[name], tensor)


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "checkpoint.safetensors", "abc") is None


def test_another_runs_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c.safetensors", Checkpoint("theirs", {"x": torch.zeros(1)}, {}))
    with pytest.raises(StoreError, match="checkpoint of run theirs, this run is ours"):
        read_checkpoint(tmp_path / "c.safetensors", "ours")


def test_tensors_of_somebody_else_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(StoreError, match="checkpoint of run unknown"):
        read_checkpoint(tmp_path / "c.safetensors", "ours")


@pytest.mark.parametrize("kept", [0, 7, 60, -1])
def test_a_truncated_checkpoint_says_what_to_do(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, Checkpoint("abc", {"x": torch.zeros(10)}, {}))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreError, match=r"damaged checkpoint .*delete it"):
        read_checkpoint(path, "abc")


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    path, trace = tmp_path / "c.safetensors", tmp_path / "trace"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(trace), "w")

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(StoreError, match="damaged"):
        read_checkpoint(path, "abc")
    assert not trace.exists()


def test_replacing_is_atomic_in_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    for iteration in (1, 2):
        write_checkpoint(path, Checkpoint("abc", {"x": torch.zeros(1)}, {"iteration": iteration}))
    found = read_checkpoint(path, "abc")
    assert found is not None
    assert found.values["iteration"] == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("values", [None, "", "{", "[]", "3"])
def test_values_that_are_no_object_are_damage(tmp_path: Path, values: str | None) -> None:
    header = {"fingerprint": "abc", **({} if values is None else {"values": values})}
    save_file({"x": torch.zeros(1)}, tmp_path / "c.safetensors", header)
    with pytest.raises(StoreError, match=r"damaged checkpoint .*delete it"):
        read_checkpoint(tmp_path / "c.safetensors", "abc")


class _Values(TypedDict):
    iteration: int


def test_what_is_needed_is_required_by_name(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, Checkpoint("abc", {"x": torch.zeros(2, 3), "n": torch.zeros(())}, {"iteration": 3}))
    found = read_checkpoint(path, "abc")
    assert found is not None
    found.require({"x": (torch.float32, (2, None)), "n": (torch.float32, ())}, _Values)
    for tensors, told in (
        ({"y": (torch.float32, (2, 3))}, "tensor 'y' is missing"),
        ({"x": (torch.float32, (3, 2))}, r"tensor 'x' is float32 \[2, 3\], expected float32 \[3, 2\]"),
        ({"x": (torch.int64, (2, 3))}, "expected int64"),
        ({"x": (torch.float32, (2,))}, r"expected float32 \[2\]"),
    ):
        with pytest.raises(StoreError, match=rf"c\.safetensors: .*{told}.*delete it"):
            found.require(tensors, _Values)
    write_checkpoint(path, Checkpoint("abc", {}, {"iteration": "three"}))
    found = read_checkpoint(path, "abc")
    assert found is not None
    with pytest.raises(StoreError, match=r"damaged checkpoint \(iteration = 'three': expected a whole number\)"):
        found.require({}, _Values)
