"""The interface of a source, and the checks every decoded dataset has to pass.

A source lists chunks of images without decoding them; `data.decode` decodes a chunk wherever it is told to.
"""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.data.sources.chunks import Chunk, Failure
from ast_ray.errors import DataError, counted


@dataclass(frozen=True, eq=False)
class DecodedDataset:
    """Images as stored: uint8 [n, C, H, W] and int64 [n] per split, and K class names.

    ``notes`` say what decoding did (sizes, converted images), ``warnings`` what it left out.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def content_id(self) -> str:
        """Hash of pixels, labels and names: the same images from another container have the same id."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Listing:
    """The content of a source before decoding: chunks per split in order, class names, and problems found so far.

    An empty ``test`` means that the source has no test split and one is to be held out of ``train``; ``own_test`` is
    false once that is done.
    """

    train: tuple[Chunk, ...]
    test: tuple[Chunk, ...]
    class_names: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    own_test: bool = True


@dataclass(frozen=True)
class Source:
    """A dataset that can be listed and then decoded.

    ``key`` names its content cheaply, for the cache; ``statistics`` the dataset whose constants normalise it, if any;
    ``image_size`` the side it is resized to unless the settings say otherwise (0 = by what it holds);
    ``colour``: known to be rgb, so that nobody has to look.
    """

    name: str
    key: str
    listing: Callable[[], Listing]
    statistics: str = ""
    image_size: int = 0
    colour: bool = False


def checked(name: str, dataset: DecodedDataset, *, own_test: bool = True) -> DecodedDataset:
    """Return the dataset, or raise `DataError` for labels out of range, empty classes or splits that do not fit.

    A class may lack test images only where the test split was held out (``own_test`` false): it was too small.
    """
    classes = len(dataset.class_names)
    for split, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        if len(labels) == 0:
            raise DataError(f"{name}: the {split} split holds no images")
        wrong = torch.nonzero((labels < 0) | (labels >= classes)).flatten()
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"{name}: {counted(len(wrong), f'{split} label')} out of range 0..{classes - 1}; "
                f"first: image {row} has label {int(labels[row])}"
            )
        counts = torch.bincount(labels, minlength=classes)
        empty = [dataset.class_names[label] for label in range(classes) if counts[label] == 0]
        if empty and (split == "train" or own_test):
            raise DataError(f"{name}: {counted(len(empty), 'class')} without a {split} image: {', '.join(empty[:5])}")
        if images.shape[1:] != dataset.train_images.shape[1:]:
            raise DataError(
                f"{name}: {split} images are {tuple(images.shape[1:])}, "
                f"training images {tuple(dataset.train_images.shape[1:])}"
            )
    return dataset


def numbered(name: str, labels: Sequence[int]) -> tuple[str, ...]:
    """Names of classes that have none: their numbers.

    Raises:
        DataError: labels that do not run from 0 to K - 1. One far beyond would make as many classes without images.
    """
    if not labels:
        raise DataError(f"{name}: no image has a label")
    low, high = min(labels), max(labels)
    if low < 0 or high >= len(labels):
        wrong = high if low >= 0 else low
        reason = f"every class from 0 on has images; {counted(len(labels), 'image')} cannot have label {wrong}"
        raise DataError(f"{name}: labels run from {low} to {high}: {reason}")
    return tuple(str(label) for label in range(high + 1))


def check_labels(name: str, listing: Listing) -> None:
    """Raise `DataError` for labels that no class has, before anything is decoded."""
    classes = len(listing.class_names)
    for split, chunks in (("train", listing.train), ("test", listing.test)):
        rows = enumerate(label for chunk in chunks for label in chunk.labels)
        wrong = [(row, label) for row, label in rows if not 0 <= label < classes]
        if wrong:
            row, label = wrong[0]
            reason = f"{counted(len(wrong), f'{split} label')} out of range 0..{classes - 1}"
            raise DataError(f"{name}: {reason}; first: image {row} has label {label}")


def out_of_range(low: float, high: float) -> str:
    """Return how to bring values from ``low`` to ``high`` into a range in which they are taken."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "replace what is not a number"
    if low < 0:
        return (
            "if they were normalised, multiply by the std and add the mean used for that, per channel; "
            f"else add {-low:g} and divide by {high - low:g}"
        )
    if high <= 255:
        return "divide by 255, or save whole numbers as uint8"
    return "divide by the largest value of their kind (4095 for 12 bits, 65535 for 16) and save floats from 0 to 1"


def check_names(name: str, class_names: tuple[str, ...]) -> None:
    """Raise `DataError` for a single class, names that are no text, or two that a reader cannot tell apart.

    Those are the same but for case, surrounding space, and how Unicode composes their characters.
    """
    if len(class_names) < 2:
        held = f"a single class, {class_names[0]!r}" if class_names else "no class"
        raise DataError(f"{name}: {held}; telling classes apart needs at least two")
    foreign = [item for item in class_names if not _is_text(item)]
    if foreign:
        raise DataError(f"{name}: the class {os.fsencode(foreign[0])!r} has a name that is not UTF-8; rename it")
    first: dict[str, int] = {}
    clashes = []
    for number, item in enumerate(class_names):
        known = first.setdefault(unicodedata.normalize("NFC", item.strip().casefold()), number)
        if known != number:
            clashes.append(f"{class_names[known]!r} and {item!r}")
    if clashes:
        raise DataError(
            f"{name}: {counted(len(clashes), 'pair')} of duplicate classes: {', '.join(clashes[:5])}; "
            "merge or rename one of each pair"
        )


def _is_text(name: str) -> bool:
    """Tell whether a name is UTF-8; Python keeps bytes that are not as surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
