from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_ray.errors import StoreError
from ast_ray.report.frames import load_frames, read_sheet, tile


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))))


def noise_sheets(folder: Path, numbers: range, *, classes: int = 3, columns: int = 4, side: int = 8) -> dict[int, Path]:
    generator, found = np.random.default_rng(0), {}
    for number in numbers:
        pixels = generator.integers(0, 256, (classes * side, columns * side, 3), dtype=np.uint8)
        found[number] = folder / f"iteration-{number:06d}.png"
        Image.fromarray(pixels).save(found[number])
    return found


def test_a_sheet_is_cut_by_class_and_column(tmp_path: Path) -> None:
    whole = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(whole).save(tmp_path / "sheet.png")
    images = read_sheet(tmp_path / "sheet.png", (1, 2, 3))
    assert images.shape == (2, 2, 2, 3, 1)
    assert images[1, 0, :, :, 0].tolist() == [[12, 13, 14], [18, 19, 20]]


def test_exact_tiles_and_lines_of_about_equal_length() -> None:
    images = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    shown = decoded(tile(images, exact=True))
    assert shown.shape == (16, 32, 3)
    assert np.array_equal(shown[8:, 16:24], images[6])
    assert not shown[8:, 24:].any()


def test_compressed_is_smaller_and_close() -> None:
    smooth = np.tile(np.arange(0, 256, 8, dtype=np.uint8)[:, None], (1, 1, 32, 3)).reshape(1, 32, 32, 3)
    images = np.clip(smooth + np.random.default_rng(0).integers(0, 9, smooth.shape), 0, 255).astype(np.uint8)
    exact, compressed = tile(images, exact=True), tile(images, exact=False)
    assert len(compressed) < len(exact) / 2
    assert np.abs(decoded(compressed).astype(int) - images[0]).mean() < 8


def test_many_moments_before_exact_pixels(tmp_path: Path) -> None:
    sheets = noise_sheets(tmp_path, range(0, 200, 10))
    exact = load_frames(sheets, (3, 8, 8), published=None, budget=10**7)
    assert exact is not None
    assert exact.exact
    frames = load_frames(sheets, (3, 8, 8), published=None, budget=exact.bytes // 2)
    assert frames is not None
    assert not frames.exact


def test_everything_is_kept_when_it_fits(tmp_path: Path) -> None:
    frames = load_frames(noise_sheets(tmp_path, range(5)), (3, 8, 8), published=3, budget=10**6)
    assert frames is not None
    assert frames.iterations == (0, 1, 2, 3, 4)
    assert (len(frames.tiles), frames.columns, frames.shown) == (3, 4, 4)


def test_first_published_and_last_stay_when_frames_are_thinned(tmp_path: Path) -> None:
    sheets = noise_sheets(tmp_path, range(0, 200, 10))
    everything = load_frames(sheets, (3, 8, 8), published=70, budget=10**7)
    assert everything is not None
    frames = load_frames(sheets, (3, 8, 8), published=70, budget=everything.bytes // 6)
    assert frames is not None
    assert {0, 70, 190} <= set(frames.iterations)
    assert 3 < len(frames.iterations) < 20
    shown_twice = 2 * frames.bytes // len(frames.iterations)
    assert frames.bytes + shown_twice <= everything.bytes // 6


def test_fewer_images_per_class_before_losing_before_and_after(tmp_path: Path) -> None:
    sheets = noise_sheets(tmp_path, range(2), columns=10)
    frames = load_frames(sheets, (3, 8, 8), published=None, budget=10000)
    assert frames is not None
    assert frames.iterations == (0, 1)
    assert frames.shown < 10
    assert 2 * frames.bytes <= 10000
    assert len(frames.tiles) == 3


def test_fewer_classes_when_one_image_of_each_is_too_much(tmp_path: Path) -> None:
    sheets = noise_sheets(tmp_path, range(2), classes=50, columns=1)
    frames = load_frames(sheets, (3, 8, 8), published=None, budget=10000)
    assert frames is not None
    assert 1 < len(frames.tiles) < 50
    assert 2 * frames.bytes <= 10000


def test_no_snapshots_no_frames() -> None:
    assert load_frames({}, (3, 8, 8), published=None, budget=10) is None


def test_a_damaged_or_foreign_sheet_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "iteration-000001.png"
    damaged.write_bytes(b"not a picture")
    with pytest.raises(StoreError, match=r"iteration-000001\.png"):
        read_sheet(damaged, (3, 8, 8))
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(damaged)
    with pytest.raises(StoreError, match="8x9 px is no sheet of 8x8"):
        read_sheet(damaged, (3, 8, 8))
