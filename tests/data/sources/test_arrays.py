"""NumPy archives."""

from __future__ import annotations

import io
import zipfile
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
        ({"x": np.array([{}] * 10), "y": LABELS}, "holds more than plain values, refused"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npz", **arrays)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array(3), "y": LABELS}, r"x is int64 of shape \(\)"),
        ({"x": ramp(10, 4, 4), "y": np.array(3)}, "one integer label per image"),
        ({"x": ramp(0, 4, 4), "y": LABELS[:0]}, "x is uint8 of shape"),
        ({"x": ramp(10, 0, 4), "y": LABELS}, "x is uint8 of shape"),
        ({"x": np.full((10, 4, 4), np.datetime64("2020-02-02")), "y": LABELS}, "x is datetime64"),
        ({"x": ramp(10, 4, 4), "y": LABELS.astype("datetime64[D]")}, "one integer label per image"),
        ({"x": np.full((10, 4, 4), "text"), "y": LABELS}, "x is <U4"),
        ({"x": ramp(10, 4, 4) * 1j, "y": LABELS}, "x is complex128"),
        ({"x": ramp(10, 4, 4) > 3, "y": LABELS}, "x is bool"),
        ({"x": np.full((10, 4, 4), np.nan), "y": LABELS}, "floats from nan to nan"),
        ({"x": np.zeros((10, 4, 4), [("a", "i4")]), "y": LABELS}, "x is "),
        ({"x": ramp(10, 4, 4), "y": LABELS + 10**6}, "labels run from 1000000 to 1000001"),
        ({"x": ramp(10, 4, 4), "y": LABELS - 1}, "labels run from -1 to 0"),
        ({"x": ramp(10, 4, 4), "y": LABELS.astype(np.uint64) + 2**63}, "labels run from 9223372036854775808"),
        ({"x": ramp(10, 4, 4), "y": LABELS + 10**6, "class_names": ["a", "b"]}, r"labels out of range 0\.\.1"),
        ({"x": ramp(10, 4, 4), "y": LABELS, "class_names": np.array("ab")}, "class_names is <U2 of shape"),
        ({"x": ramp(10, 4, 4), "y": LABELS, "class_names": [1.5, 2.5]}, "class_names is float64"),
    ],
)
def test_odd_arrays_are_refused_before_any_work(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npz", **arrays)


def test_names_as_bytes(tmp_path: Path):
    assert load(tmp_path / "a.npz", x=ramp(10, 4, 4), y=LABELS, class_names=[b"no", b"yes"]).class_names == (
        "no",
        "yes",
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"text", npy(ramp(10, 4, 4)), b"PK\x03\x04", npy(ramp(3, 3)).replace(b"(3, 3)", b"(3, -)")],
)
def test_a_file_of_another_kind_under_the_name_of_an_archive(tmp_path: Path, content: bytes):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: damaged, or not what its name says \("):
        load_dataset(DataConfig(source=str(tmp_path / "a.npz"), root=str(tmp_path)))


@pytest.mark.parametrize(
    "inside", [b"", b"text", npy(ramp(4, 4))[:-3], npy(ramp(4)).replace(b"'descr': '|u1'", b"'descr': '|uX'")]
)
def test_an_archive_whose_members_are_damaged(tmp_path: Path, inside: bytes):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", inside)
    with pytest.raises(DataError, match=r"a\.npz: "):
        load_dataset(DataConfig(source=str(tmp_path / "a.npz"), root=str(tmp_path)))


def test_an_encrypted_archive(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=ramp(10, 4, 4), y=LABELS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(magic)
        content[at + flags] |= 1
    (tmp_path / "a.npz").write_bytes(bytes(content))
    with pytest.raises(DataError, match="encrypted"):
        load_dataset(DataConfig(source=str(tmp_path / "a.npz"), root=str(tmp_path)))


def test_a_file_that_is_no_archive(tmp_path: Path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"no \.npz archive"):
        load_dataset(DataConfig(source=str(tmp_path / "a.npz"), root=str(tmp_path)))
