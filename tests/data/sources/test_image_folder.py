"""Image folders: with and without splits, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.config.settings import DataConfig
from ast_ray.data.ingest import open_listing
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import open_source
from ast_ray.errors import ConfigError, DataError


def load(source: Path, root: Path, **options: object):
    return load_dataset(DataConfig(source=str(source), root=str(root / "cache"), **options))[1]


@pytest.fixture
def split_tree(tmp_path: Path, make_picture) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("ant", "bee")):
            for index in range(count):
                make_picture(tmp_path / "tree" / split / name / f"{index}.jpg", color=(80 * label + index,) * 3)
    return tmp_path / "tree"


def test_the_stratified_test_split_is_the_same_for_every_seed(pets: Path, tmp_path: Path):
    first = load(pets, tmp_path)
    assert first.test_labels.bincount().tolist() == [2, 2, 2]
    assert first.train_labels.bincount().tolist() == [8, 8, 8]
    assert load(pets, tmp_path, split_seed=5).content_id() == first.content_id()
    assert load(pets, tmp_path, test_fraction=0.5).test_labels.bincount().tolist() == [5, 5, 5]
    assert "6 of 30 images held out" in first.notes[0]


def test_train_and_test_hold_every_image_once(tmp_path: Path, make_picture):
    for index in range(20):
        make_picture(tmp_path / "x" / "ab"[index % 2] / f"{index}.png", color=(index,) * 3)
    dataset = load(tmp_path / "x", tmp_path)
    values = [*dataset.train_images[:, 0, 0, 0].tolist(), *dataset.test_images[:, 0, 0, 0].tolist()]
    labels = [*dataset.train_labels.tolist(), *dataset.test_labels.tolist()]
    assert sorted(values) == list(range(20))
    assert all(value % 2 == label for value, label in zip(values, labels, strict=True))


@pytest.mark.parametrize("name", ["val", "test", "validation"])
def test_a_split_tree_is_taken_as_it_is(split_tree: Path, tmp_path: Path, name: str):
    (split_tree / "val").rename(split_tree / name)
    dataset = load(split_tree, tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test_labels.tolist() == [0, 0, 1, 1]
    assert dataset.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 80, 81, 82]


@pytest.mark.parametrize("more", [(), ("test",), ("val", "valid")])
def test_a_class_may_be_called_train(pets: Path, tmp_path: Path, more: tuple[str, ...]):
    for old, new in zip(("dog", "fish"), ("train", *more), strict=False):
        (pets / old).rename(pets / new)
    dataset = load(pets, tmp_path)
    assert dataset.class_names == tuple(sorted({"cat", "train", more[0] if more else "fish"}))
    assert dataset.train_labels.bincount().tolist() == [8, 8, 8]
    assert dataset.warnings == ()


def test_a_folder_beside_the_splits_that_holds_no_images_changes_nothing(split_tree: Path, tmp_path: Path):
    (split_tree / "annotations").mkdir()
    (split_tree / "annotations" / "boxes.csv").write_text("x")
    dataset = load(split_tree, tmp_path)
    assert (dataset.class_names, dataset.warnings) == (("ant", "bee"), ())


def test_images_beside_a_training_split_are_said_to_be_left_out(split_tree: Path, tmp_path: Path, make_picture):
    make_picture(split_tree / "unlabelled" / "0.png")
    make_picture(split_tree / "train" / "stray.png")
    dataset = load(split_tree, tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert len(dataset.train_labels) == 6
    assert dataset.warnings == (
        f"{split_tree}: train/ is taken for the training split, and 1 folder beside it left out: unlabelled; "
        "if train is a class, put its images into train/ itself",
    )


def test_train_alone_has_its_test_split_held_out(split_tree: Path, tmp_path: Path):
    for path in (split_tree / "val").rglob("*.jpg"):
        path.unlink()
    for folder in (split_tree / "val" / "ant", split_tree / "val" / "bee", split_tree / "val"):
        folder.rmdir()
    assert load(split_tree, tmp_path).test_labels.tolist() == [0, 1]


def test_a_class_missing_from_a_split_is_named(split_tree: Path, tmp_path: Path, make_picture):
    make_picture(split_tree / "train" / "wasp" / "0.png")
    with pytest.raises(DataError, match=r"1 class without a test folder: wasp"):
        load(split_tree, tmp_path)


def test_an_empty_class_is_named_and_can_be_skipped(pets: Path, tmp_path: Path):
    (pets / "cow").mkdir()
    with pytest.raises(DataError, match=r"cow \(a class folder without images\)"):
        load(pets, tmp_path)
    dataset = load(pets, tmp_path, skip_corrupt=True)
    assert dataset.class_names == ("cat", "dog", "fish")
    assert dataset.train_labels.unique().tolist() == [0, 1, 2]
    assert "cow" in dataset.warnings[0]


def test_classes_that_differ_in_case_only_are_duplicates(pets: Path, tmp_path: Path, make_picture):
    make_picture(pets / "Cat" / "0.png")
    with pytest.raises(DataError, match=r"1 pair of duplicate classes: 'Cat' and 'cat'"):
        load(pets, tmp_path, skip_corrupt=True)


def test_classes_that_differ_in_how_their_accents_are_composed_are_duplicates(pets: Path, tmp_path: Path, make_picture):
    """Both read as the same word: one folder came from a machine that composes, one from a machine that does not."""
    make_picture(pets / "caf\u00e9" / "0.png")
    make_picture(pets / "cafe\u0301" / "0.png")
    with pytest.raises(DataError, match="1 pair of duplicate classes: 'cafe\u0301' and 'caf\u00e9'"):
        load(pets, tmp_path, skip_corrupt=True)


@pytest.mark.parametrize(("left", "split"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1)), (4, (3, 1))])
def test_a_small_class_keeps_images_for_training(pets: Path, tmp_path: Path, left: int, split: tuple[int, int]):
    for index in range(left, 10):
        (pets / "dog" / f"{index}.png").unlink()
    dataset = load(pets, tmp_path)
    assert dataset.train_labels.bincount(minlength=3).tolist() == [8, split[0], 8]
    assert dataset.test_labels.bincount(minlength=3).tolist() == [2, split[1], 2]


def test_too_few_images_of_every_class_are_refused(pets: Path, tmp_path: Path):
    for name in ("cat", "dog", "fish"):
        for index in range(2, 10):
            (pets / name / f"{index}.png").unlink()
    with pytest.raises(DataError, match=r"no class has more than 2 images; at least one class needs 3 \(one each to"):
        load(pets, tmp_path)


def test_a_folder_without_classes_says_what_it_holds(tmp_path: Path, make_picture):
    make_picture(tmp_path / "flat" / "a.png")
    with pytest.raises(DataError, match=r"no class folders .*it holds a.png"):
        open_source(DataConfig(source=str(tmp_path / "flat")))
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "b.txt").write_text("x")
    with pytest.raises(DataError, match="no images in the class folders"):
        open_source(DataConfig(source=str(tmp_path / "texts")))


def test_hidden_files_nested_folders_and_stray_images(pets: Path, tmp_path: Path, make_picture):
    (pets / ".DS_Store").write_bytes(b"x")
    (pets / ".thumbs").mkdir()
    (pets / "cat" / ".hidden.png").write_bytes(b"x")
    (pets / "cat" / "notes.txt").write_text("x")
    make_picture(pets / "cat" / "more" / "deep.JPG")
    make_picture(pets / "stray.png")
    config = DataConfig(source=str(pets), root=str(tmp_path / "cache"))
    listing = open_listing(open_source(config), config)
    assert listing.class_names == ("cat", "dog", "fish")
    assert sum(len(chunk.labels) for chunk in (*listing.train, *listing.test)) == 31
    assert "1 image outside the class folders left out; first: stray.png" in listing.notes


def test_a_single_class_is_refused(tmp_path: Path, make_picture):
    for index in range(9):
        make_picture(tmp_path / "one" / "cat" / f"{index}.png", seed=index)
    with pytest.raises(DataError, match="a single class, 'cat'; telling classes apart needs at least two"):
        load(tmp_path / "one", tmp_path)
    (tmp_path / "one" / "dog").mkdir()
    with pytest.raises(DataError, match="a single class, 'cat'"):
        load(tmp_path / "one", tmp_path, skip_corrupt=True)


def test_a_class_folder_with_two_underscores_is_a_class(pets: Path, tmp_path: Path, make_picture):
    (pets / "dog").rename(pets / "__dog")
    for litter in ("__MACOSX", "__pycache__"):
        make_picture(pets / litter / "0.png")
    dataset = load(pets, tmp_path)
    assert dataset.class_names == ("__dog", "cat", "fish")
    assert len(dataset.train_labels) + len(dataset.test_labels) == 30
    assert dataset.warnings == ()


def test_hidden_class_folders_are_said_to_be_left_out(pets: Path, tmp_path: Path):
    before = load(pets, tmp_path)
    assert before.warnings == ()
    (pets / "dog").rename(pets / ".dog")
    (pets / ".git").mkdir()
    dataset = load(pets, tmp_path)
    assert dataset.class_names == ("cat", "fish")
    assert dataset.warnings == (f"{pets}: hidden folders are no classes; 1 folder with images left out: .dog",)


def test_what_was_decoded_before_a_hidden_folder_came_is_not_taken_for_it(pets: Path, tmp_path: Path, make_picture):
    assert load(pets, tmp_path).warnings == ()
    make_picture(pets / ".more" / "0.png")
    assert ".more" in load(pets, tmp_path).warnings[0]


@pytest.mark.parametrize("source", ["digits", "cifar10", "tiny-imagenet"])
def test_a_subset_of_a_source_without_any_is_refused(tmp_path: Path, source: str):
    with pytest.raises(ConfigError, match=f"data.subset = 'nette': {source} has no subsets"):
        open_source(DataConfig(source=source, subset="nette", root=str(tmp_path), download=False))
