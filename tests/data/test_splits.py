"""Training, validation and test rows: shares of every class, and sizes that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DataConfig
from ast_ray.data.real import load_real_data
from ast_ray.data.splits import split_rows
from ast_ray.errors import ConfigError, DataError


def labels_of(counts: Sequence[int]) -> Tensor:
    """Labels [n] in an order that is no class's own."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(7))]


def split_counts(counts: Sequence[int], *, validation: int = 0, train: int = 0) -> tuple[list[int], list[int]]:
    """Images per class of the training and the validation split."""
    labels = labels_of(counts)
    rows = split_rows(labels, validation_size=validation, train_size=train, seed=0)
    assert len(set(rows[0].tolist()) & set(rows[1].tolist())) == 0
    return tuple(labels[part].bincount(minlength=len(counts)).tolist() for part in rows)  # type: ignore[return-value]


def test_the_rows_of_a_balanced_set_are_those_of_earlier_versions():
    labels = torch.arange(60) % 3
    train, validation = split_rows(labels, validation_size=6, train_size=9, seed=3)
    assert validation.tolist() == [4, 15, 21, 35, 46, 53]
    assert train.tolist() == [2, 19, 20, 24, 30, 45, 55, 58, 59]


@pytest.mark.parametrize(
    ("counts", "sizes", "train", "validation"),
    [
        ((400, 80, 24, 8), {}, [382, 63, 12, 4], [18, 17, 12, 4]),  # half of the smallest class stays
        ((400, 80, 24, 8), {"validation": 500}, [9, 1, 1, 1], [391, 79, 23, 7]),  # one of each where it has to be
        ((20, 20, 3), {}, [18, 19, 2], [2, 1, 1]),
        ((20, 20, 1), {}, [18, 18, 1], [2, 2, 0]),
        ((20, 20, 1), {"validation": 4, "train": 5}, [2, 2, 1], [2, 2, 0]),
        ((2, 1, 1), {}, [1, 1, 1], [1, 0, 0]),
    ],
)
def test_every_class_keeps_training_images(counts, sizes, train, validation):
    assert split_counts(counts, **sizes) == (train, validation)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"train": 95}, [("data.train_size", "with 10 held out to validate the largest valid is 90 (0 = all)")]),
        ({"validation": 200}, [("data.validation_size", "stay for training; largest valid: 90")]),
        ({"validation": 95, "train": 30}, [("data.validation_size", "largest valid: 70")]),
        (
            {"validation": 60, "train": 50},
            [("data.train_size", "with 60 held out to validate the largest valid is 40")],
        ),
        ({"validation": 3}, [("data.validation_size", "at least one image per class; smallest valid: 10")]),
        ({"train": 3}, [("data.train_size", "at least one image per class; smallest valid: 10 (0 = all)")]),
        (
            {"validation": 200, "train": 200},
            [("data.validation_size", "largest valid: 90"), ("data.train_size", "the largest valid is 10")],
        ),
    ],
)
def test_sizes_that_cannot_be_name_the_setting_and_one_that_can(sizes, expected):
    with pytest.raises(ConfigError) as caught:
        split_counts([10] * 10, **sizes)
    assert [problem.setting for problem in caught.value.problems] == [name for name, _ in expected]
    for problem, (_, reason) in zip(caught.value.problems, expected, strict=True):
        assert reason in problem.reason
        if problem.setting == "data.train_size":
            assert problem.value == sizes["train"]


def test_one_image_of_each_class_is_refused_with_the_least_that_works():
    with pytest.raises(DataError, match=r"one image of each of its 3 classes, .*; least: 2 training images of a class"):
        split_counts([1, 1, 1])
    assert split_counts([2, 1, 1])[1] == [1, 0, 0]


@pytest.mark.parametrize(
    ("last", "note"),
    [
        (1, "classes with too few images for every split: 2 without validation or test images"),
        (2, "classes with too few images for every split: 2 without validation images"),
        (3, None),
    ],
)
def test_a_class_without_images_to_spare_is_named_in_one_note(tmp_path: Path, last: int, note: str | None):
    labels = labels_of((20, 20, last)).numpy()
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), np.uint8)
    np.savez(tmp_path / "small.npz", x=pixels, y=labels)
    data = load_real_data(DataConfig(source=str(tmp_path / "small.npz"), root=str(tmp_path)))
    assert int((data.train_labels == 2).sum()) == 1
    assert data.split_notes == ((note,) if note else ())
