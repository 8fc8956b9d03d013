"""NumPy archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ast_ray.config.settings import DataConfig
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import DecodedDataset
from ast_ray.errors import DataError

LABELS = np.repeat([0, 1], 5)


def load(path: Path, **arrays: object) -> DecodedDataset:
    np.savez(path, **arrays)
    return load_dataset(DataConfig(source=str(path), root=str(path.parent / "cache")))[1]


def ramp(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


@pytest.mark.parametrize("axis", ["last", "first"])
def test_splits_and_either_order_of_the_channels(tmp_path: Path, axis: str):
    train, test = ramp(10, 6, 5, 3), ramp(10, 6, 5, 3)[::-1].copy()
    given = [x if axis == "last" else x.transpose(0, 3, 1, 2) for x in (train, test)]
    dataset = load(tmp_path / "a.npz", x_train=given[0], y_train=LABELS, x_test=given[1], y_test=LABELS[:, None])
    np.testing.assert_array_equal(dataset.train_images, train.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(dataset.test_images, test.transpose(0, 3, 1, 2))
    assert dataset.test_labels.tolist() == LABELS.tolist()
    assert dataset.class_names == ("0", "1")


def test_grey_floats_with_names_are_split(tmp_path: Path):
    pixels = ramp(10, 4, 4) / 255
    dataset = load(tmp_path / "a.npz", x=pixels, y=LABELS, class_names=np.array(["no", "yes"]))
    assert dataset.train_images.shape == (8, 1, 4, 4)
    assert dataset.class_names == ("no", "yes")
    together = np.concatenate([dataset.train_images, dataset.test_images])[:, 0]
    assert sorted(map(bytes, together)) == sorted(map(bytes, ramp(10, 4, 4)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": ramp(10, 4, 4)}, r"no array 'x' \(it holds images;"),
        ({"x_train": ramp(10, 4, 4), "y_train": LABELS}, "no array 'x_test'"),
        ({"x": ramp(10, 4, 4), "y": LABELS[:4]}, "one integer label per image"),
        ({"x": ramp(10, 4, 4), "y": LABELS / 2}, "one integer label per image"),
        ({"x": ramp(10, 5, 5, 7), "y": LABELS}, r"x has shape \(10, 5, 5, 7\)"),
        ({"x": ramp(10, 4, 4) * 1.0, "y": LABELS}, "x holds floats from 0 to 159; expected 0 to 1: divide by 255, or"),
        (
            {"x": ramp(10, 4, 4) * 9.5, "y": LABELS},
            "floats from 0 to 1510.5; expected 0 to 1: divide by the largest value of their kind",
        ),
        (
            {"x": ramp(10, 4, 4) / 64 - 1.5, "y": LABELS},
            r"floats from -1.5 to 0.984375; expected 0 to 1: if they were normalised, multiply by the std and add the "
            r"mean used for that, per channel; else add 1.5 and divide by 2.48438",
        ),
        ({"x": ramp(10, 4, 4) * np.nan, "y": LABELS}, "floats from nan to nan; .*: replace what is not a number"),
        (
            {"x": ramp(10, 4, 4).astype(int) * 99, "y": LABELS},
            r"int64 from 0 to 15741; expected 0 to 255: divide by the largest value of their kind",
        ),
        ({"x": np.array([{}] * 10), "y": LABELS}, "cannot be read as an .npz of plain arrays"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npz", **arrays)


def test_a_file_that_is_no_archive(tmp_path: Path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
        load_dataset(DataConfig(source=str(tmp_path / "a.npz"), root=str(tmp_path)))
