"""Parts that travel."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.errors import DataError
from benchmarks.reproduce.packing import LIMIT, pack, parts_of


def test_parts_hold_everything_once_and_fit(tmp_path: Path) -> None:
    sizes = {"train-0": 30, "train-1": 31, "train-2": 30, "test-0": 18}
    for name, size in sizes.items():
        (tmp_path / f"{name}.parquet").write_bytes(bytes(size))
    packed = pack(tmp_path, tmp_path / "out", limit=61)
    assert packed == {"part-1": ["train-1.parquet", "train-0.parquet"], "part-2": ["train-2.parquet", "test-0.parquet"]}
    for part, files in packed.items():
        for file in files:
            assert (tmp_path / "out" / part / file).read_bytes() == (tmp_path / file).read_bytes()


def test_what_cannot_travel_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="big: 60 MiB, at most 58 MiB"):
        parts_of({"big": 60 * 2**20})
    with pytest.raises(DataError, match="no Parquet shards"):
        pack(tmp_path, tmp_path / "out")


def test_cifar10_travels_in_two_parts(cifar10_folder: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in cifar10_folder.glob("*.parquet")}
    assert len(parts_of(sizes)) == 2
    assert LIMIT < 64 * 2**20
