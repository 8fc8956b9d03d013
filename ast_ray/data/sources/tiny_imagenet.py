"""Tiny ImageNet in its own layout: 200 classes of 500 training images, 64x64 pixels.

``train/<wnid>/images/*.JPEG``; ``val/images/*.JPEG`` with ``val/val_annotations.txt`` (file, wnid, box by tabs).
The validation images are the test split: those of ``test/`` carry no labels. ``words.txt``, if there, names classes.
"""

from __future__ import annotations

from pathlib import Path

from ast_ray.data.sources.base import Listing, Source
from ast_ray.data.sources.chunks import Failure, file_chunks
from ast_ray.data.sources.files import content_key, image_names, subfolders
from ast_ray.errors import DataError

FOLDER = "tiny-imagenet-200"
ANNOTATIONS = "val/val_annotations.txt"
SIZE = 64


def is_tiny_imagenet(folder: Path) -> bool:
    """Return whether a folder has the layout."""
    return (folder / ANNOTATIONS).is_file() and (folder / "train").is_dir()


def tiny_imagenet(folder: Path) -> Source:
    """Open the extracted archive; images are 64x64 and decoded as colour (a few are stored grey).

    Raises:
        DataError: not its layout.
    """
    if not is_tiny_imagenet(folder):
        raise DataError(f"{folder}: not Tiny ImageNet (expected train/<wnid>/images and {ANNOTATIONS} in it)")
    train = list(image_names(folder / "train"))
    if not train:
        raise DataError(f"{folder}: train/ holds no images")
    files = [folder / "train" / name for name in train]
    files += [folder / "val" / "images" / name for name in image_names(folder / "val" / "images")]

    def listing() -> Listing:
        wnids = subfolders(folder / "train")
        filled = {name.partition("/")[0] for name in train}
        failures = [Failure(name, "a class folder without images") for name in wnids if name not in filled]
        kept = [name for name in wnids if name in filled]
        label = {name: number for number, name in enumerate(kept)}
        test, unusable = _annotations(folder, label)
        return Listing(
            file_chunks(folder / "train", [(name, label[name.partition("/")[0]]) for name in train]),
            file_chunks(folder / "val" / "images", test),
            _names(folder, kept),
            (*failures, *unusable),
        )

    key = content_key([*files, folder / ANNOTATIONS], folder)
    return Source(str(folder), key, listing, statistics="tiny-imagenet", image_size=SIZE, colour=True)


def _annotations(folder: Path, label: dict[str, int]) -> tuple[list[tuple[str, int]], list[Failure]]:
    """Validation images with labels, in the order of their names, and every line that cannot be used."""
    text = (folder / ANNOTATIONS).read_text(encoding="utf-8", errors="replace")
    present = set(image_names(folder / "val" / "images"))
    found: dict[str, int] = {}
    failures = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("\t")
        where = f"{ANNOTATIONS}: line {number}"
        if len(fields) < 2:
            failures.append(Failure(where, f"expected file and class, got {line[:60]!r}"))
        elif fields[1] not in label:
            failures.append(Failure(where, f"class {fields[1]!r} has no training images"))
        elif fields[0] not in present:
            failures.append(Failure(where, f"image {fields[0]!r} is missing"))
        elif fields[0] in found:
            failures.append(Failure(where, f"image {fields[0]!r} is annotated twice"))
        else:
            found[fields[0]] = label[fields[1]]
    failures += [Failure(f"val/images/{name}", "no annotation") for name in sorted(present - found.keys())]
    return sorted(found.items()), failures


def _names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    """Readable names from words.txt, made unique by the wnid where two classes share one."""
    words = folder / "words.txt"
    lines = words.read_text(encoding="utf-8", errors="replace").splitlines() if words.is_file() else []
    named = {wnid: text.split(",")[0].strip() for wnid, _, text in (line.partition("\t") for line in lines) if text}
    names = [named.get(wnid, wnid) for wnid in wnids]
    lower = [name.casefold() for name in names]
    return tuple(
        name if lower.count(name.casefold()) == 1 else f"{name} ({wnid})"
        for name, wnid in zip(names, wnids, strict=True)
    )
