"""Decoding in Ray tasks gives what threads give, byte for byte, with every failure and in order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ast_ray.config.settings import DataConfig
from ast_ray.data.cache import cache_path
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import chunks, open_source
from ast_ray.errors import DataError

pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("local_ray")
def test_ray_tasks_fill_the_same_cache(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ast_ray.ray_backend.decoding import RayMapper

    monkeypatch.setattr(chunks, "CHUNK", 4)  # several chunks per split
    here = DataConfig(source=str(pets), root=str(tmp_path / "threads"))
    there = dataclasses.replace(here, root=str(tmp_path / "ray"))
    seen: list[tuple[int, int]] = []
    _, one, identity = load_dataset(here)
    _, other, again = load_dataset(there, mapper=RayMapper(), progress=lambda _, *count: seen.append(count))
    assert again == identity
    assert other.notes == one.notes
    paths = [cache_path(open_source(config), config) for config in (here, there)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(seen) > 6
    assert seen[-1] == (30, 30)


@pytest.mark.usefixtures("local_ray")
def test_failures_come_back_from_the_tasks(pets: Path, tmp_path: Path):
    from ast_ray.ray_backend.decoding import RayMapper

    (pets / "fish" / "4.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"1 image, .*fish/4.png \(not an image of a known format\)"):
        load_dataset(DataConfig(source=str(pets), root=str(tmp_path)), mapper=RayMapper())
