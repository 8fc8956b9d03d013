"""Decoding once: what is cached, under which name, what is left out and said, and clearing it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ast_ray.config.settings import DataConfig
from ast_ray.data import cache
from ast_ray.data.cache import CacheWriter, cache_folder, cache_path, clear_cache, list_cache, read_cached
from ast_ray.data.decode import Target
from ast_ray.data.ingest import decoded
from ast_ray.data.parallel import threads
from ast_ray.data.real import images_to_decode, load_dataset
from ast_ray.data.sources import open_source
from ast_ray.data.sources.base import DecodedDataset
from ast_ray.errors import DataError


def settings(source: Path | str, root: Path, **options: object) -> DataConfig:
    return DataConfig(source=str(source), root=str(root), **options)


def no_reading(*_: object) -> None:
    raise AssertionError("decoded again")


def test_the_second_time_nothing_is_decoded(pets: Path, tmp_path: Path):
    config = settings(pets, tmp_path)
    assert images_to_decode(config) == 30
    _, first, identity = load_dataset(config)
    assert images_to_decode(config) == 0
    second, again = decoded(open_source(config), config, mapper=no_reading)
    assert again == identity == first.content_id() == second.content_id()
    assert torch.equal(first.train_images, second.train_images)
    assert second.class_names == ("cat", "dog", "fish")
    assert second.notes == first.notes


@pytest.mark.parametrize("tensor", ["train_images", "train_labels", "test_images", "test_labels"])
def test_a_changed_pixel_or_label_is_noticed_and_decoded_again(
    pets: Path, tmp_path: Path, tensor: str, caplog: pytest.LogCaptureFixture
):
    config = settings(pets, tmp_path)
    _, first, identity = load_dataset(config)
    wanted = getattr(first, tensor).clone()
    path = cache_path(open_source(config), config)
    content = path.read_bytes()
    place = content.rindex(wanted.numpy().tobytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert images_to_decode(config) == 30
    _, again, same = load_dataset(config)
    assert torch.equal(getattr(again, tensor), wanted)
    assert same == identity == again.content_id()
    assert f"{path}: the decoded images are damaged (their checksum is wrong); decoding them again" in caplog.text
    assert images_to_decode(config) == 0


def test_the_content_is_verified_once_per_process(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = settings(pets, tmp_path)
    load_dataset(config)
    monkeypatch.setattr(cache, "_verified", set())
    looked: list[str] = []
    real = DecodedDataset.content_id
    monkeypatch.setattr(DecodedDataset, "content_id", lambda self: looked.append("") or real(self))
    for _ in range(3):
        load_dataset(config)
    assert len(looked) == 1


def test_tensors_survive_the_writer_whatever_their_sizes(tmp_path: Path):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 3, 3, 5), np.uint8) for n in (7, 4))
    with CacheWriter(tmp_path / "c.safetensors", Target(3, 5, 3), {"source": "x", "class_names": ["ä", "b"]}) as writer:
        writer.append("train", train[:5], [0, 1, 0, 1, 0])
        writer.append("train", train[5:], [1, 1])
        writer.append("test", test, [1, 0, 1, 0])
        identity = writer.finish(["a note"], ["a warning"])
    found = read_cached(tmp_path / "c.safetensors")
    assert found is not None
    dataset, name = found
    np.testing.assert_array_equal(dataset.train_images, train)
    np.testing.assert_array_equal(dataset.test_images, test)
    assert dataset.train_labels.tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert (dataset.class_names, dataset.notes, dataset.warnings) == (("ä", "b"), ("a note",), ("a warning",))
    expected = DecodedDataset(
        torch.from_numpy(train), dataset.train_labels, torch.from_numpy(test), dataset.test_labels, ("ä", "b")
    )
    assert name == identity == expected.content_id()


def test_the_name_depends_on_content_and_on_what_decides_the_pixels(pets: Path, tmp_path: Path, make_picture):
    config = settings(pets, tmp_path)
    base = cache_path(open_source(config), config)
    for change in ({"image_size": 8}, {"resize": "stretch"}, {"channels": "grey"}, {"test_fraction": 0.3}):
        other = dataclasses.replace(config, **change)
        assert cache_path(open_source(other), other) != base, change
    for change in ({"train_size": 9}, {"preprocess": "zca"}, {"split_seed": 3}):
        other = dataclasses.replace(config, **change)
        assert cache_path(open_source(other), other) == base, change
    make_picture(pets / "cat" / "0.png", seed=99)
    assert cache_path(open_source(config), config) != base


def test_corrupt_files_are_counted_and_named(pets: Path, tmp_path: Path):
    for name in ("cat/1.png", "dog/2.png"):
        (pets / name).write_bytes(b"broken")
    config = settings(pets, tmp_path)
    with pytest.raises(
        DataError, match=r"2 images, .*cat/1.png \(not an image of a known format\); dog/2.png .*--skip-corrupt"
    ):
        load_dataset(config)
    assert list_cache(config) == []
    assert [path.name for path in cache_folder(config).glob(".*")] == []
    _, dataset, _ = load_dataset(dataclasses.replace(config, skip_corrupt=True))
    assert len(dataset.train_labels) + len(dataset.test_labels) == 28
    (warning,) = dataset.warnings
    assert "went on without 2 images" in warning
    assert "cat/1.png" in warning


def test_skipping_leaves_the_other_images_with_their_own_labels(tmp_path: Path, make_picture):
    for split in ("train", "test"):
        for label, name in enumerate(("a", "b")):
            for index in range(4):
                make_picture(tmp_path / "x" / split / name / f"{index}.png", color=(100 * label + index,) * 3)
    (tmp_path / "x/train/a/2.png").write_bytes(b"")
    _, dataset, _ = load_dataset(settings(tmp_path / "x", tmp_path, skip_corrupt=True))
    assert dataset.train_images[:, 0, 0, 0].tolist() == [0, 1, 3, 100, 101, 102, 103]
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_a_class_that_is_all_corrupt_is_an_error_even_when_skipping(pets: Path, tmp_path: Path):
    for path in (pets / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"1 class without a train image: dog"):
        load_dataset(settings(pets, tmp_path, skip_corrupt=True))


def test_a_cache_that_cannot_be_written_is_no_error(pets: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    _, dataset, identity = load_dataset(settings(pets, tmp_path / "file"))
    assert dataset.content_id() == identity == load_dataset(settings(pets, tmp_path / "free"))[2]


def test_a_damaged_cache_file_is_made_again(pets: Path, tmp_path: Path):
    config = settings(pets, tmp_path)
    _, _, identity = load_dataset(config)
    path = cache_path(open_source(config), config)
    path.write_bytes(path.read_bytes()[:500])
    assert [item.kind for item in list_cache(config)] == ["unreadable"]
    assert load_dataset(config)[2] == identity


def test_listing_and_clearing(pets: Path, tmp_path: Path):
    config = settings(pets, tmp_path)
    other = settings("digits", tmp_path)
    _, _, identity = load_dataset(config)
    load_dataset(other)
    found = {item.source: item for item in list_cache(config)}
    assert found.keys() == {str(pets), "digits"}
    item = found[str(pets)]
    assert (item.kind, item.content_id, item.images, item.shape) == ("images", identity, 30, (3, 16, 16))
    assert item.size_bytes == item.path.stat().st_size
    assert [gone.source for gone in clear_cache(config, ("digits",))] == ["digits"]
    assert images_to_decode(other) == 1797
    assert images_to_decode(config) == 0
    assert clear_cache(config, ("nothing",)) == []
    assert [gone.content_id for gone in clear_cache(config)] == [identity]
    assert images_to_decode(config) == 30


def test_progress_reaches_the_total(pets: Path, tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    load_dataset(settings(pets, tmp_path), progress=lambda *update: seen.append(update))
    assert seen[-1] == ("decode pets", 30, 30)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_threads_keep_the_order():
    assert list(threads(lambda job: job * job, range(50))) == [number * number for number in range(50)]


def test_the_facts_are_plain_json(pets: Path, tmp_path: Path):
    config = settings(pets, tmp_path)
    load_dataset(config)
    raw = cache_path(open_source(config), config).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["facts"])["class_names"] == ["cat", "dog", "fish"]
