"""Tiny ImageNet on a small tree in exactly its official layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.config.settings import DataConfig
from ast_ray.data.preprocess import LITERATURE
from ast_ray.data.real import fit_preprocessing, load_dataset
from ast_ray.data.sources import DecodedDataset
from ast_ray.errors import DataError
from ast_ray.stages.tools.inspect_source import source_facts

WNIDS = ("n01443537", "n01629819", "n02099601")


@pytest.fixture
def tree(tmp_path: Path, make_picture) -> Path:
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for label, wnid in enumerate(WNIDS):
        boxes = []
        for index in range(4):
            name = f"{wnid}_{index}.JPEG"
            mode, color = ("L", 60 * label) if index == 3 else ("RGB", (60 * label,) * 3)
            make_picture(root / "train" / wnid / "images" / name, size=(64, 64), mode=mode, color=color)
            boxes.append(f"{name}\t0\t10\t63\t58")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("\n".join(boxes) + "\n")
        for index in range(2):
            name = f"val_{2 - label + 3 * index}.JPEG"
            make_picture(root / "val" / "images" / name, size=(64, 64), color=(60 * label,) * 3)
            lines.append(f"{name}\t{wnid}\t0\t32\t44\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    make_picture(root / "test" / "images" / "test_0.JPEG", size=(64, 64))
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    words = "n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\nn01629819\tcrane\nn02099601\tcrane\n"
    (root / "words.txt").write_text(words)
    return root


def load(tree: Path, **options: object) -> DecodedDataset:
    return load_dataset(DataConfig(source=str(tree), root=str(tree.parent / "cache"), **options))[1]


def test_splits_labels_and_names(tree: Path):
    dataset = load(tree)
    assert dataset.train_images.shape == (12, 3, 64, 64)
    assert dataset.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.test_labels.tolist() == [2, 1, 0, 2, 1, 0]  # by the images' names, not the annotations' order
    for images, labels in ((dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)):
        assert ((images[:, 0, 0, 0].int() - 60 * labels).abs() <= 2).all()
    assert dataset.class_names == ("goldfish", "crane (n01629819)", "crane (n02099601)")


def test_it_is_found_by_name_under_the_root(tree: Path):
    _, dataset, _ = load_dataset(DataConfig(source="tiny-imagenet", root=str(tree.parent)))
    assert dataset.content_id() == load(tree).content_id()


def test_a_missing_archive_says_where_it_is_looked_for(tmp_path: Path):
    with pytest.raises(DataError, match=r"cannot be downloaded; extract it to .*tiny-imagenet-200"):
        load_dataset(DataConfig(source="tiny-imagenet", root=str(tmp_path)))


def test_every_unusable_annotation_is_counted(tree: Path):
    path = tree / "val" / "val_annotations.txt"
    lines = path.read_text().splitlines()
    lines[0] = lines[0].replace("\t", " ")
    lines[2] = lines[2].replace(WNIDS[1], "n99999999")
    lines += [lines[1], "val_77.JPEG\tn01443537\t0\t0\t1\t1"]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        load(tree)
    text = str(caught.value)
    assert "6 images, annotations or classes" in text
    for part in ("line 1 (expected file and class", "line 3 (class 'n99999999'", "line 7 (image", "annotated twice"):
        assert part in text
    assert "line 8 (image 'val_77.JPEG' is missing)" in text
    dataset = load(tree, skip_corrupt=True)
    assert sorted(dataset.test_labels.tolist()) == [0, 1, 2, 2]


def test_its_constants_are_imagenets(tree: Path):
    source, dataset, identity = load_dataset(DataConfig(source=str(tree), root=str(tree.parent / "cache")))
    preprocessing = fit_preprocessing(DataConfig(source=str(tree)), source, dataset.train_images, identity)
    assert (preprocessing.mean, preprocessing.std) == LITERATURE["imagenet"]
    assert source_facts(DataConfig(source=str(tree))).classes == 3
