"""The sets: the same bytes from the same seed, what they are said to hold, and what ast-ray reads in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ast_ray.cli.main import main
from ast_ray.errors import ConfigError, StoreError
from benchmarks.odd_datasets.catalogue import SETS, chosen, make
from benchmarks.odd_datasets.writing import Facts, described, digest

Made = Callable[[str], Path]
# What `ast-ray data inspect` finds: (C, H, W), classes, training and test images; or what its refusal says.
READ: dict[str, tuple[tuple[int, int, int], int, int, int] | str] = {
    "photos": ((3, 32, 32), 3, 50, 12),
    "clothes-npz": ((1, 28, 28), 10, 12000, 2000),
    "small-splits": ((3, 32, 32), 3, 50, 12),
    "digits-folder": ((1, 8, 8), 10, 1438, 359),
    "cifar10-folder": ((3, 32, 32), 10, 480, 120),
    "cifar10-parquet": ((3, 32, 32), 4, 240, 60),
    "two-classes": ((3, 64, 64), 2, 96, 24),
    "two-hundred-classes": ((3, 12, 12), 200, 1600, 400),
    "ten-per-class": ((3, 32, 32), 10, 100, 200),
    "imbalanced": ((3, 24, 24), 4, 512, 128),
    "large-images": ((3, 128, 128), 4, 80, 20),
    "mixed-sizes": ((3, 32, 32), 5, 120, 30),
    "huge-images": ((3, 64, 64), 3, 48, 12),
    "rgba-icons": ((3, 48, 48), 6, 120, 30),
    "grey-16-bit": ((1, 32, 32), 4, 128, 32),
    "palette": ((3, 32, 32), 5, 120, 30),
    "normalised-floats": "expected 0 to 1",
    "digits-half-negative": ((1, 8, 8), 10, 1438, 359),
    "constant-images": ((3, 32, 32), 4, 160, 160),
    "label-noise": ((3, 24, 24), 5, 321, 79),
    "nearly-identical": ((1, 24, 24), 3, 150, 120),
    "colour-only": ((3, 32, 32), 4, 160, 160),
    "texture-only": ((3, 32, 32), 4, 160, 160),
    "class-named-train": ((3, 32, 32), 3, 72, 18),
    "three-images": ((3, 24, 24), 6, 82, 21),
    "two-images": ((3, 24, 24), 6, 81, 21),
    "single-class": "a single class, .*; telling classes apart needs at least two",
    "empty-class": "to-do",
    "corrupt-file": "disc/00007.png .*; ring/00025.png",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Made:
    """Write a set once and return its source; sets that need CIFAR-10 are skipped without it."""
    sets, sources = tmp_path_factory.mktemp("odd") / "sets", dict[str, Path]()

    def source(name: str) -> Path:
        if name not in sources:
            cifar10 = request.getfixturevalue("cifar10_folder") if SETS[name].needs_cifar10 else None
            sources[name] = make(SETS[name], sets, cifar10=cifar10)
        return sources[name]

    return source


def inspected(source: Path, folder: Path) -> dict[str, Any]:
    """What the command prints."""
    words = ["data", "inspect", str(source), "--json", "--root", str(folder), "--png", str(folder / "samples.png")]
    return dict(json.loads(CliRunner().invoke(main, words).stdout))


@pytest.mark.parametrize("name", SETS)
def test_ast_ray_reads_a_set_or_says_why_not(name: str, made: Made, tmp_path: Path) -> None:
    found, expected = inspected(made(name), tmp_path), READ[name]
    if isinstance(expected, str):
        assert re.search(expected, found["error"]["message"])
        return
    counts = (sum(found["train_counts"]), sum(found["test_counts"]))
    assert (tuple(found["image_shape"]), len(found["class_names"]), *counts) == expected
    facts = described(made(name))
    assert (facts.classes, facts.images) == (expected[1], sum(counts))


_SLOW = ("clothes-npz", "huge-images", "two-hundred-classes", "digits-folder")


@pytest.mark.parametrize("name", [name for name in SETS if name not in _SLOW])
def test_a_seed_is_a_sets_bytes(name: str, made: Made, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    first, cifar10 = made(name), None
    if SETS[name].needs_cifar10:
        cifar10 = request.getfixturevalue("cifar10_folder")
    make(SETS[name], tmp_path / "again", cifar10=cifar10)
    content = digest(tmp_path / "again" / name)
    assert content == digest(first if first.is_dir() else first.parent)
    if name not in ("cifar10-folder", "small-splits"):  # nothing in these is drawn
        make(SETS[name], tmp_path / "again", seed=1, cifar10=cifar10)
        assert digest(tmp_path / "again" / name) != content


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("digits-half-negative", Facts(10, 1797, "8 px", "npz, uint8")),
        ("normalised-floats", Facts(5, 300, "32 px", "npz, float32")),
        ("palette", Facts(5, 150, "32 px", "GIF and PNG")),
        ("huge-images", Facts(3, 60, "64 px to 20000x5000", "JPG")),
        ("empty-class", Facts(4, 60, "24 px", "PNG")),
        ("class-named-train", Facts(3, 90, "32 px", "PNG")),
        ("cifar10-parquet", Facts(4, 300, "32 px", "Parquet")),
    ],
)
def test_what_a_set_holds_is_counted(name: str, facts: Facts, made: Made) -> None:
    assert described(made(name)) == facts


def test_the_digest_sees_names_bytes_and_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    seen = {digest(tmp_path)}
    (tmp_path / "b").mkdir()
    seen.add(digest(tmp_path))
    (tmp_path / "a" / "x").write_bytes(b"1")
    seen.add(digest(tmp_path))
    (tmp_path / "a" / "x").write_bytes(b"2")
    assert len(seen | {digest(tmp_path)}) == 4


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "photos" / "cat" / "1.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(StoreError, match="holds other files"):
        make(SETS["photos"], tmp_path)
    assert mine.read_bytes() == b"mine"


def test_sets_that_cannot_be_made_are_named() -> None:
    with pytest.raises(ConfigError, match=r"set = 'phots': .*did you mean 'photos'"):
        chosen(["phots"])
    with pytest.raises(ConfigError, match="needs CIFAR-10"):
        make(SETS["cifar10-folder"], Path("unused"))
    assert [item.name for item in chosen([])] == list(SETS)
