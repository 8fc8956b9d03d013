from __future__ import annotations

import pytest
import torch

from ast_ray.data.splits import split_rows
from ast_ray.errors import ConfigError

LABELS = torch.arange(10).repeat(4)


def sizes(validation: int, train: int) -> tuple[int, int]:
    kept, held = split_rows(LABELS, validation_size=validation, train_size=train, seed=0)
    assert not set(kept.tolist()) & set(held.tolist())
    return len(kept), len(held)


def test_sizes() -> None:
    assert sizes(0, 0) == (30, 10)
    assert sizes(30, 0) == (10, 30)
    assert sizes(15, 20) == (20, 15)
    assert sizes(30, 10) == (10, 30)


@pytest.mark.parametrize(
    ("validation", "train", "setting", "value", "told"),
    [
        (31, 0, "data.validation_size", 31, "largest valid: 30"),
        (10**6, 0, "data.validation_size", 10**6, "largest valid: 30"),
        (10**6, 10**6, "data.validation_size", 10**6, "largest valid: 30"),
        (0, 31, "data.train_size", 31, "10 of them held out; largest valid: 30"),
        (20, 21, "data.train_size", 21, "20 of them held out; largest valid: 20"),
        (3, 0, "data.validation_size", 3, "at least one image per class: 10"),
        (0, 3, "data.train_size", 3, "at least one image per class: 10"),
    ],
)
def test_the_size_that_is_wrong_is_blamed(validation: int, train: int, setting: str, value: int, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sizes(validation, train)
    (problem,) = caught.value.problems
    assert (problem.setting, problem.value) == (setting, value)
    assert problem.reason.endswith(told)
    assert "-" not in problem.reason.split("largest valid")[-1]


def test_too_few_images_for_any_split() -> None:
    with pytest.raises(ConfigError, match="10 images in 10 classes; one of each class is trained on and one held out"):
        split_rows(LABELS[:10], validation_size=0, train_size=0, seed=0)
