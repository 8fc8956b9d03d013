"""Folders with links that lead nowhere or in circles, pipes, and names that are no text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ast_ray.config.settings import DataConfig
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import DecodedDataset
from ast_ray.errors import DataError


def load(source: Path, *, skip: bool = False) -> DecodedDataset:
    return load_dataset(DataConfig(source=str(source), root=str(source.parent / "cache"), skip_corrupt=skip))[1]


def spoil(pets: Path, kind: str) -> str:
    """Put something odd among the cats; return what is said of it."""
    place = pets / "cat" / "odd.png"
    if kind == "dangling":
        place.symlink_to(pets / "gone.png")
        return "a link to .*gone.png, where nothing is"
    if kind == "circle":
        place.symlink_to(place)
        return "links that lead in a circle"
    if kind == "pipe":
        os.mkfifo(place)
        return "a pipe, not a file"
    if kind == "device":
        place.symlink_to("/dev/zero")
        return "a device, not a file"
    assert kind == "no permission"
    place.write_bytes(b"x")
    place.chmod(0)
    return "Permission denied" if os.geteuid() else "not an image"


@pytest.mark.parametrize("kind", ["dangling", "circle", "pipe", "device", "no permission"])
def test_what_cannot_be_read_is_named_or_left_out(pets: Path, kind: str):
    told = spoil(pets, kind)
    with pytest.raises(DataError, match=rf"1 image, .* cat/odd\.png \({told}"):
        load(pets)
    dataset = load(pets, skip=True)
    assert len(dataset.train_labels) + len(dataset.test_labels) == 30
    assert "without 1 image," in dataset.warnings[0]


@pytest.mark.parametrize("name", ["pets.npz", "pets.parquet", "pets"])
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_a_source_that_is_neither_file_nor_folder_is_not_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / "here" / name
    place.parent.mkdir()
    if kind == "a pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=f"{kind}, not a file"):
        load(place)


def test_a_link_to_a_class_that_leads_nowhere_is_no_silent_loss(pets: Path):
    (pets / "bird").symlink_to(pets.parent / "birds")
    with pytest.raises(DataError, match=r"bird \(a link to .*birds, where nothing is\)"):
        load(pets)
    assert load(pets, skip=True).class_names == ("cat", "dog", "fish")


def test_links_to_images_and_classes_elsewhere_are_followed(pets: Path):
    (pets / "dog").rename(pets.parent / "dogs")
    (pets / "dog").symlink_to(pets.parent / "dogs")
    assert load(pets).class_names == ("cat", "dog", "fish")


@pytest.mark.parametrize("place", ["cat/again", "cat/deep/again"])
def test_a_folder_inside_itself_is_refused_at_once(pets: Path, place: str):
    (pets / place).parent.mkdir(exist_ok=True)
    (pets / place).symlink_to(pets, target_is_directory=True)
    with pytest.raises(DataError, match=r"again: a link that leads back to a folder above it"):
        load(pets)


def test_names_that_are_no_text(pets: Path, make_picture):
    odd = os.fsdecode(b"caf\xe9")
    os.rename(pets / "cat" / "0.png", pets / "cat" / f"{odd}.png")
    assert len(load(pets).train_labels)
    (pets / "cat" / f"{odd}2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be used"):
        load(pets)
    (pets / "cat" / f"{odd}2.png").unlink()
    os.rename(pets / "cat", pets / odd)
    with pytest.raises(DataError, match=r"b'caf\\xe9' has a name that is not UTF-8"):
        load(pets)
