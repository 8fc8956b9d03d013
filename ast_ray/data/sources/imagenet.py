"""The ImageNet subsets of ten classes at 128x128, from an ILSVRC folder or from an already extracted subset.

Layouts: ``train/<wnid>/*.JPEG`` with ``val/<wnid>/*.JPEG`` (as torchvision prepares it), or
``Data/CLS-LOC/train/<wnid>`` and ``Data/CLS-LOC/val/*.JPEG`` with ``LOC_val_solution.csv`` (as Kaggle ships it). With
1,000 class folders the subset's are taken by their place in sorted order, which is the ILSVRC class index; with ten,
they are the subset. The validation images are the test split.
"""

from __future__ import annotations

import csv
from pathlib import Path

from ast_ray.data.sources.base import Listing, Source
from ast_ray.data.sources.chunks import Failure, file_chunks
from ast_ray.data.sources.files import content_key, image_names, subfolders
from ast_ray.errors import DataError, counted

SIZE, CLASSES = 128, 1000

# Class indices of each subset: Cazenavette et al. 2022 (MTT, arXiv 2203.11932).
SUBSETS: dict[str, tuple[int, ...]] = {
    "nette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
    "woof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
    "fruit": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
    "meow": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
    "squawk": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
    "yellow": (309, 986, 954, 951, 987, 779, 599, 291, 72, 11),
}


def imagenet_subset(folder: Path, subset: str) -> Source:
    """Open the ten classes of a subset; labels follow the ILSVRC index, wherever the images come from.

    Raises:
        DataError: not one of the layouts, or neither 1,000 nor ten class folders.
    """
    root = folder / "Data" / "CLS-LOC" if (folder / "Data" / "CLS-LOC").is_dir() else folder
    if not (root / "train").is_dir() or not (root / "val").is_dir():
        raise DataError(
            f"{folder}: no ImageNet here (expected train/<wnid>/ and val/, or Data/CLS-LOC/ with both); "
            "give the folder of ILSVRC, or of the extracted subset, as data.source"
        )
    wnids = _chosen(folder, root, subset)
    train = {wnid: list(image_names(root / "train" / wnid)) for wnid in wnids}
    test, unusable = _validation(folder, root, wnids)
    files = [root / "train" / wnid / name for wnid, names in train.items() for name in names]
    files += [root / "val" / name for name, _ in test]

    def listing() -> Listing:
        failures = [Failure(f"train/{wnid}", "a class folder without images") for wnid in wnids if not train[wnid]]
        pairs = [(f"{wnid}/{name}", label) for label, wnid in enumerate(wnids) for name in train[wnid]]
        names = _names(subset)
        return Listing(
            file_chunks(root / "train", pairs), file_chunks(root / "val", test), names, (*failures, *unusable)
        )

    key = f"{subset}-{content_key(files, root)}"
    return Source(f"{folder} ({subset})", key, listing, statistics="imagenet", image_size=SIZE, colour=True)


def _chosen(folder: Path, root: Path, subset: str) -> list[str]:
    """The subset's folders, in the order of their ILSVRC index."""
    held = subfolders(root / "train")
    if len(held) == CLASSES:
        return [held[index] for index in sorted(SUBSETS[subset])]
    if len(held) == len(SUBSETS[subset]):
        return held
    raise DataError(
        f"{folder}: train/ holds {counted(len(held), 'class folder')}; expected the {CLASSES} of ILSVRC, "
        f"or the {len(SUBSETS[subset])} of {subset}"
    )


def _validation(folder: Path, root: Path, wnids: list[str]) -> tuple[list[tuple[str, int]], list[Failure]]:
    """Validation images under val/ with their labels, and annotations that cannot be used."""
    if all((root / "val" / wnid).is_dir() for wnid in wnids):
        pairs = [(wnid, label) for label, wnid in enumerate(wnids)]
        return [(f"{wnid}/{name}", label) for wnid, label in pairs for name in image_names(root / "val" / wnid)], []
    table = folder / "LOC_val_solution.csv"
    if not table.is_file():
        raise DataError(f"{folder}: val/ is not sorted into class folders and no {table.name} says which image is what")
    label = {wnid: number for number, wnid in enumerate(wnids)}
    present = set(image_names(root / "val"))
    found, failures = [], []
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.reader(file), 1):
            wnid = row[1].split(" ")[0] if len(row) > 1 else ""
            if not wnid:
                failures.append(Failure(f"{table.name}: line {number}", "expected an image and its class"))
            elif wnid in label and f"{row[0]}.JPEG" not in present:
                failures.append(Failure(f"{table.name}: line {number}", f"image {row[0]}.JPEG is missing"))
            elif wnid in label:
                found.append((f"{row[0]}.JPEG", label[wnid]))
    return sorted(found), failures


def _names(subset: str) -> tuple[str, ...]:
    """Class names by ILSVRC index, from torchvision's table."""
    from torchvision.models import ResNet18_Weights

    categories = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return tuple(str(categories[index]) for index in sorted(SUBSETS[subset]))
