"""Makers of the sets: each writes one set's files into a folder, from a generator alone.

A class must be learnable unless its being so is the oddity. Sets are as small as their oddity allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.odd_datasets.drawing import (
    SHAPES,
    Array,
    gratings,
    hues,
    masks,
    noisy,
    painted,
    per_image,
    shape_pictures,
    smooth,
    to_bytes,
)
from benchmarks.odd_datasets.scenes import CLOTHES, LANDSCAPES, clothes, landscape
from benchmarks.odd_datasets.writing import Picture, cifar10_rows, pictures, write_folder, write_npz, write_parquet

_TEST_SHARE = 5  # one of five images, where a maker splits by itself


def labels_of(counts: Sequence[int]) -> Array:
    """Return labels [n], class by class."""
    return np.repeat(np.arange(len(counts)), counts)


def names_of(labels: Array, names: Sequence[str] = SHAPES) -> list[str]:
    """Return the class name of every image."""
    return [names[label] for label in labels]


def with_splits(names: Sequence[str], train: int) -> list[str]:
    """Put the first ``train`` images of every class below train/ and the others below test/."""
    seen = dict.fromkeys(names, 0)
    found = []
    for name in names:
        found.append(f"{'train' if seen[name] < train else 'test'}/{name}")
        seen[name] += 1
    return found


def photos(rng: Generator, folder: Path) -> None:
    """62 landscapes of slightly different sizes as JPEG."""
    labels = labels_of((21, 21, 20))
    sizes = rng.integers(56, 81, (len(labels), 2))
    shown = [landscape(rng, kind, *map(int, size)) for kind, size in zip(labels, sizes, strict=True)]
    write_folder(folder, [pictures(image[None])[0] for image in shown], names_of(labels, LANDSCAPES), suffix="jpg")


def clothes_npz(rng: Generator, folder: Path) -> None:
    """12,000 training and 2,000 test silhouettes of 28 px: a linear classifier of 2,000 images gets about 70 %."""
    kinds = rng.permutation(labels_of((1400,) * len(CLOTHES)))
    pixels = to_bytes(clothes(rng, kinds))
    arrays = {"x_train": pixels[:12000], "y_train": kinds[:12000], "x_test": pixels[12000:], "y_test": kinds[12000:]}
    arrays["class_names"] = np.array(CLOTHES)
    write_npz(folder / "clothes.npz", arrays)


def small_splits(rng: Generator, folder: Path, cifar10: Path) -> None:
    """50 training and 12 test photographs of three classes, each split in its own folder."""
    found, names = cifar10_rows(cifar10, 21, ("airplane", "frog", "truck"))
    places = with_splits(names, 17)
    extra = names.index("truck")
    del found[extra], places[extra]
    write_folder(folder, found, places)


def digits_folder(rng: Generator, folder: Path) -> None:
    """Scikit-learn's digits: 1,797 grey images of 8 px."""
    found = load_digits()
    names = [f"digit-{label}" for label in found.target]
    write_folder(folder, pictures(found.images / 16), names)


def digits_half_negative(rng: Generator, folder: Path) -> None:
    """Scikit-learn's digits, every second one inverted."""
    found = load_digits()
    images = found.images / 16
    negative = rng.random(len(images)) < 0.5
    images[negative] = 1 - images[negative]
    write_npz(folder / "digits.npz", {"x": to_bytes(images), "y": found.target})


def cifar10_folder(rng: Generator, folder: Path, cifar10: Path) -> None:
    """60 images of each of CIFAR-10's ten classes as PNG."""
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    write_folder(folder, *cifar10_rows(cifar10, 60, names))


def cifar10_parquet(rng: Generator, folder: Path, cifar10: Path) -> None:
    """Four classes of CIFAR-10 in Parquet shards, labels as names, one shard of them the test split."""
    rows, labels = cifar10_rows(cifar10, 75, ("automobile", "cat", "deer", "ship"))
    order = rng.permutation(len(rows))
    found, names = [rows[row] for row in order], [labels[row] for row in order]
    cut = len(found) - len(found) // _TEST_SHARE
    write_parquet(folder / "train-00000-of-00001.parquet", found[:cut], names[:cut])
    write_parquet(folder / "test-00000-of-00001.parquet", found[cut:], names[cut:])


def two_classes(rng: Generator, folder: Path) -> None:
    """Two classes of 60 JPEG images of 64 px."""
    labels = labels_of((60, 60))
    shown = pictures(shape_pictures(rng, np.array([0, 5])[labels], 64))
    write_folder(folder, shown, names_of(labels, ("disc", "cross")), suffix="jpg")


def two_hundred_classes(rng: Generator, folder: Path) -> None:
    """200 classes of ten images of 12 px: ten shapes in ten colours on a light or a dark ground."""
    labels = labels_of((10,) * 200)
    shape, hue, light = labels % 10, labels // 10 % 10, labels // 100
    count = len(labels)
    ground = np.where(light[:, None] == 1, 0.85, 0.12) + np.zeros((count, 3))
    front = hues(hue / 10 + rng.uniform(-0.02, 0.02, count), light=0.5)
    images = noisy(rng, painted(masks(rng, shape, 12), front, ground), 0.05)
    names = [f"{SHAPES[s]}-hue{h}-{'light' if on else 'dark'}" for s, h, on in zip(shape, hue, light, strict=True)]
    write_folder(folder, pictures(images), names)


def large_images(rng: Generator, folder: Path) -> None:
    """Four classes of 25 images, all of 128 px."""
    labels = labels_of((25,) * 4)
    write_folder(folder, pictures(shape_pictures(rng, labels, 128)), names_of(labels), suffix="jpg")


def rgba_icons(rng: Generator, folder: Path) -> None:
    """Six classes of 25 icons of 48 px on a transparent ground, some with a soft shadow."""
    labels = labels_of((25,) * 6)
    count = len(labels)
    coverage = masks(rng, labels, 48)
    colour = np.broadcast_to(hues(rng.uniform(0, 1, count), light=0.4)[:, None, None, :], (*coverage.shape, 3))
    shadow = 0.4 * smooth(rng, count, 48, 48)[..., None] * (rng.random((count, 1, 1, 1)) < 0.5)
    alpha = np.maximum(coverage[..., None], shadow)
    images = np.concatenate([colour * coverage[..., None], alpha], -1)
    write_folder(folder, pictures(images), names_of(labels))


def grey_16_bit(rng: Generator, folder: Path) -> None:
    """Four classes of 40 grey PNG of 16 bits that hold a camera's 12: 0 to 4095."""
    labels = labels_of((40,) * 4)
    cells = np.array([3, 5, 9, 17])[labels]
    images = np.stack([smooth(rng, 1, 32, 32, cells=int(count))[0] for count in cells])
    levels = (noisy(rng, images, 0.03) * 4095).round().astype(np.uint16)
    write_folder(folder, [Image.fromarray(image) for image in levels], names_of(labels, ("a", "b", "c", "d")))


def imbalanced(rng: Generator, folder: Path) -> None:
    """Four classes of 500, 100, 30 and 10 images of 24 px."""
    labels = labels_of((500, 100, 30, 10))
    write_folder(folder, pictures(shape_pictures(rng, labels, 24)), names_of(labels))


def ten_per_class(rng: Generator, folder: Path) -> None:
    """Ten classes of ten training images of 32 px, and 200 test images."""
    labels = labels_of((30,) * 10)
    write_folder(folder, pictures(shape_pictures(rng, labels, 32)), with_splits(names_of(labels), 10))


def nearly_identical(rng: Generator, folder: Path) -> None:
    """Three classes of grey gratings that differ by six degrees, under noise; 50 training and 40 test images each."""
    labels = labels_of((90,) * 3)
    angles = np.radians(20 + 6 * labels + rng.normal(0, 1.5, len(labels)))
    images = gratings(rng, angles, rng.uniform(3, 5, len(labels)), 24)
    names = with_splits(names_of(labels, ("grade-1", "grade-2", "grade-3")), 50)
    write_folder(folder, pictures(noisy(rng, 0.2 + 0.6 * images, 0.15)), names)


def label_noise(rng: Generator, folder: Path) -> None:
    """Five classes of 80 images; 30 % of all labels are drawn at random, the held-out images' included."""
    labels = labels_of((80,) * 5)
    images = shape_pictures(rng, labels, 24)
    wrong = rng.random(len(labels)) < 0.3
    given = np.where(wrong, rng.integers(0, 5, len(labels)), labels)
    write_folder(folder, pictures(images), names_of(given))


def constant_images(rng: Generator, folder: Path) -> None:
    """Four classes, every fourth image one flat colour (empty scans); 40 training and 40 test images each."""
    labels = labels_of((80,) * 4)
    images = shape_pictures(rng, labels, 32)
    flat = np.arange(len(labels)) % 4 == 0
    images[flat] = rng.choice([0.0, 0.5, 1.0], (int(flat.sum()), 1, 1, 1))
    write_folder(folder, pictures(images), with_splits(names_of(labels), 40))


def normalised_floats(rng: Generator, folder: Path) -> None:
    """Five classes in an archive of float32 of mean 0 and deviation 1, channels first, as a training script left it."""
    labels = rng.permutation(labels_of((60,) * 5))
    images = shape_pictures(rng, labels, 32).transpose(0, 3, 1, 2)
    images = ((images - images.mean((0, 2, 3), keepdims=True)) / images.std((0, 2, 3), keepdims=True)).astype("f4")
    cut = len(labels) - len(labels) // _TEST_SHARE
    splits = {"x_train": images[:cut], "y_train": labels[:cut], "x_test": images[cut:], "y_test": labels[cut:]}
    write_npz(folder / "normalised.npz", splits)


def mixed_sizes(rng: Generator, folder: Path) -> None:
    """Five classes of 30 images of 20 to 200 px whose sides have ratios up to three."""
    labels = labels_of((30,) * 5)
    shown: list[Picture] = []
    for image in pictures(shape_pictures(rng, labels, 96)):
        side, ratio = np.exp(rng.uniform(np.log(24), np.log(110))), np.exp(rng.uniform(-0.55, 0.55))
        assert isinstance(image, Image.Image)
        shown.append(image.resize((round(side * ratio), round(side / ratio))))
    write_folder(folder, shown, names_of(labels), suffix="jpg")


def huge_images(rng: Generator, folder: Path) -> None:
    """Three classes of 20 images of 64 px, among them a photograph of 24 and a panorama of 100 million pixels."""
    labels = labels_of((20,) * 3)
    shown = pictures(shape_pictures(rng, labels, 64))
    for number, size in ((5, (6000, 4000)), (30, (20000, 5000))):
        image = shown[number]
        assert isinstance(image, Image.Image)
        shown[number] = image.resize(size, Image.Resampling.NEAREST)
    write_folder(folder, shown, names_of(labels), suffix="jpg")


def palette(rng: Generator, folder: Path) -> None:
    """Five classes of 30 sprites of 32 px with palettes of 16 colours, half with a transparent one; some are GIF."""
    labels = labels_of((30,) * 5)
    for number, image in enumerate(pictures(shape_pictures(rng, labels, 32))):
        assert isinstance(image, Image.Image)
        sprite = image.quantize(16)
        if number % 2:
            sprite.info["transparency"] = sprite.getpixel((0, 0))
        path = folder / SHAPES[labels[number]] / f"{number:05d}.{'gif' if number % 5 == 0 else 'png'}"
        path.parent.mkdir(exist_ok=True)
        sprite.save(path)


def three_images(rng: Generator, folder: Path) -> None:
    """Five classes of 20 images, and one of three."""
    labels = labels_of((20,) * 5 + (3,))
    write_folder(folder, pictures(shape_pictures(rng, labels, 24)), names_of(labels))


def two_images(rng: Generator, folder: Path) -> None:
    """Five classes of 20 images, and one of two."""
    labels = labels_of((20,) * 5 + (2,))
    write_folder(folder, pictures(shape_pictures(rng, labels, 24)), names_of(labels))


def single_class(rng: Generator, folder: Path) -> None:
    """One class of 30 images."""
    write_folder(folder, pictures(shape_pictures(rng, labels_of((30,)), 24)), ["disc"] * 30)


def empty_class(rng: Generator, folder: Path) -> None:
    """Three classes of 20 images, and a class folder without any."""
    labels = labels_of((20,) * 3)
    write_folder(folder, pictures(shape_pictures(rng, labels, 24)), names_of(labels))
    (folder / "to-do").mkdir()


def corrupt_file(rng: Generator, folder: Path) -> None:
    """Three classes of 20 images, one of them cut off half-way and one an error page with the name of a picture."""
    labels = labels_of((20,) * 3)
    write_folder(folder, pictures(shape_pictures(rng, labels, 24)), names_of(labels))
    cut = folder / "ring" / "00025.png"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (folder / "disc" / "00007.png").write_text("<html>404 Not Found</html>\n")


def colour_only(rng: Generator, folder: Path) -> None:
    """Four classes of the same shapes that differ in hue alone; 40 training and 40 test images each."""
    labels = labels_of((80,) * 4)
    count = len(labels)
    front = hues(labels / 4 + rng.uniform(-0.06, 0.06, count), light=0.5)
    ground = np.repeat(rng.uniform(0.1, 0.9, (count, 1)), 3, 1)
    images = painted(masks(rng, rng.integers(0, len(SHAPES), count), 32), front, ground)
    names = with_splits(names_of(labels, ("red", "lime", "cyan", "violet")), 40)
    write_folder(folder, pictures(noisy(rng, images, 0.05)), names)


def texture_only(rng: Generator, folder: Path) -> None:
    """Four classes of any hue that differ in the fineness of a grating alone; 40 training and 40 test images each."""
    labels = labels_of((80,) * 4)
    count = len(labels)
    cycles = np.array([2.0, 4.0, 7.0, 11.0])[labels] * rng.uniform(0.9, 1.1, count)
    waves = gratings(rng, rng.uniform(0, np.pi, count), cycles, 32)
    tint = hues(rng.uniform(0, 1, count), light=0.6)
    images = (0.3 + 0.7 * waves)[..., None] * tint[:, None, None, :] * per_image(rng, count, 0.6, 1)[..., None]
    names = with_splits(names_of(labels, ("bark", "cloth", "gravel", "sand")), 40)
    write_folder(folder, pictures(noisy(rng, images, 0.06)), names)


def class_named_train(rng: Generator, folder: Path) -> None:
    """Three classes of 30 images of vehicles, one of them called train."""
    labels = labels_of((30,) * 3)
    write_folder(folder, pictures(shape_pictures(rng, labels, 32)), names_of(labels, ("boat", "plane", "train")))
