"""ImageNet subsets on small trees in the official layouts, with all 1,000 class folders and with ten."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.config.datasets import SUBSETS as PRESET_SUBSETS
from ast_ray.config.settings import DataConfig
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import DecodedDataset, open_source
from ast_ray.data.sources.imagenet import SUBSETS
from ast_ray.errors import ConfigError, DataError

WNIDS = tuple(f"n{number:08d}" for number in range(1_440_764, 1_440_764 + 7 * 1000, 7))
FRUIT = tuple(sorted(SUBSETS["fruit"]))


def shade(index: int) -> tuple[int, int, int]:
    """A colour that names the class in its red and green."""
    return (20 * (index % 10), 20 * (index // 10 % 10), 0)


@pytest.fixture(scope="module")
def ilsvrc(tmp_path_factory: pytest.TempPathFactory, make_picture) -> Path:
    """train/<wnid> for all classes; images for those of fruit only."""
    root = tmp_path_factory.mktemp("ilsvrc")
    for index, wnid in enumerate(WNIDS):
        (root / "train" / wnid).mkdir(parents=True)
        (root / "val" / wnid).mkdir(parents=True)
        if index in FRUIT:
            for number in range(3):
                path = root / "train" / wnid / f"{wnid}_{number}.JPEG"
                make_picture(path, size=(160, 140) if number else (130, 200), color=shade(index))
            name = f"ILSVRC2012_val_{index:08d}.JPEG"
            make_picture(root / "val" / wnid / name, size=(140, 150), color=shade(index))
    return root


def load(source: Path | str, root: Path, subset: str = "fruit", **options: object) -> DecodedDataset:
    return load_dataset(DataConfig(source=str(source), root=str(root), subset=subset, **options))[1]


def assert_fruit(dataset: DecodedDataset) -> None:
    assert dataset.train_images.shape == (30, 3, 128, 128)
    assert dataset.test_labels.tolist() == list(range(10))
    for images, labels in ((dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)):
        wanted = [shade(FRUIT[label])[:2] for label in labels.tolist()]
        found = images[:, :2, 64, 64].int().tolist()
        assert all(
            abs(a - b) <= 6 for one, two in zip(found, wanted, strict=True) for a, b in zip(one, two, strict=True)
        )
    assert dataset.class_names[FRUIT.index(954)] == "banana"
    assert dataset.class_names[FRUIT.index(950)] == "orange"


def test_classes_are_taken_by_index_from_all_of_ilsvrc(ilsvrc: Path, tmp_path: Path):
    assert_fruit(load(ilsvrc, tmp_path))


def test_the_kaggle_layout_and_an_extracted_subset_hold_the_same(ilsvrc: Path, tmp_path: Path):
    kaggle, extracted = tmp_path / "kaggle", tmp_path / "extracted"
    base = kaggle / "Data" / "CLS-LOC"
    (base / "val").mkdir(parents=True)
    (base / "train").symlink_to(ilsvrc / "train")
    rows = ["ImageId,PredictionString"]
    for index in FRUIT:
        wnid = WNIDS[index]
        (image,) = (ilsvrc / "val" / wnid).iterdir()
        (base / "val" / image.name).write_bytes(image.read_bytes())
        rows.append(f"{image.stem},{wnid} 1 2 3 4 {wnid} 5 6 7 8")
        for split in ("train", "val"):
            (extracted / split).mkdir(parents=True, exist_ok=True)
            (extracted / split / wnid).symlink_to(ilsvrc / split / wnid)
    (kaggle / "LOC_val_solution.csv").write_text("\n".join([*rows, f"ILSVRC2012_val_1,{WNIDS[3]} 1 2 3 4"]) + "\n")
    sets = [load(folder, tmp_path) for folder in (ilsvrc, kaggle, extracted)]
    assert_fruit(sets[1])
    assert len({dataset.content_id() for dataset in sets}) == 1


def test_annotations_that_cannot_be_used_are_counted(ilsvrc: Path, tmp_path: Path):
    base = tmp_path / "k" / "Data" / "CLS-LOC"
    (base / "val").mkdir(parents=True)
    (base / "train").symlink_to(ilsvrc / "train")
    text = f"ImageId,PredictionString\nbroken\nILSVRC2012_val_9,{WNIDS[954]} 1 2 3 4\n"
    (tmp_path / "k" / "LOC_val_solution.csv").write_text(text)
    with pytest.raises(
        DataError, match=r"2 images.*LOC_val_solution.csv: line 2 \(expected an image and its class\)"
    ) as caught:
        load(tmp_path / "k", tmp_path)
    assert "line 3 (image ILSVRC2012_val_9.JPEG is missing)" in str(caught.value)


def test_named_imagenet_lies_under_the_root_and_needs_a_subset(ilsvrc: Path, tmp_path: Path):
    (tmp_path / "imagenet").symlink_to(ilsvrc)
    assert_fruit(load("imagenet", tmp_path))
    with pytest.raises(ConfigError, match="imagenet needs a subset"):
        open_source(DataConfig(source="imagenet", root=str(tmp_path)))


def test_another_number_of_classes_is_refused(tmp_path: Path):
    for name in ("n00000001", "n00000002"):
        for split in ("train", "val"):
            (tmp_path / "x" / split / name).mkdir(parents=True)
    with pytest.raises(
        DataError, match="train/ holds 2 class folders; expected the 1000 of ILSVRC, or the 10 of fruit"
    ):
        load(tmp_path / "x", tmp_path)
    with pytest.raises(DataError, match="no ImageNet here"):
        load(tmp_path, tmp_path)


def test_every_subset_has_ten_classes_of_its_own_kind():
    from torchvision.models import ResNet18_Weights

    names = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    assert {name: len(set(indices)) for name, indices in SUBSETS.items()} == dict.fromkeys(PRESET_SUBSETS, 10)
    assert {names[index] for index in SUBSETS["nette"]} >= {"tench", "cassette player", "French horn", "parachute"}
    assert {names[index] for index in SUBSETS["meow"]} >= {"tabby", "lion", "lynx", "Egyptian cat"}
    assert {names[index] for index in SUBSETS["yellow"]} >= {"bee", "lemon", "school bus", "corn"}
    assert {names[index] for index in SUBSETS["squawk"]} >= {"peacock", "flamingo", "bald eagle", "black swan"}
    assert {names[index] for index in SUBSETS["woof"]} >= {"Shih-Tzu", "dingo", "beagle", "Samoyed"}
