from __future__ import annotations

import dataclasses

import pytest

from ast_ray.config.presets import DATASETS, DatasetFacts, automatic, preset
from ast_ray.config.presets.reason import reason, reason_for_name

PHOTOS = DatasetFacts("photos", 3, 3, 64, 50, 12)


@pytest.mark.parametrize(
    ("facts", "ipc", "expected"),
    [
        (PHOTOS, 1, "automatic: 64 px, 3 classes, 50 training images: the small-set preset"),
        (
            dataclasses.replace(PHOTOS, train=60_000, classes=40, image_size=32),
            10,
            "automatic: 32 px, 40 classes, 60,000 training images: settings of the most similar published dataset, "
            "cifar100",
        ),
        (DATASETS["cifar10"], 10, "automatic: the published cell of cifar10 with 10 images per class"),
        (DATASETS["cifar10"], 1, "automatic: the published cell of cifar10 with 1 image per class"),
        (
            DATASETS["cifar10"],
            7,
            "automatic: no published cell of cifar10 has 7 images per class, so the nearest one's settings",
        ),
        (
            dataclasses.replace(DATASETS["cifar10"], train=2000),
            10,
            "automatic: 32 px, 10 classes, 2,000 training images: the small-set preset",
        ),
        (DATASETS["digits"], 3, "automatic: the demo preset of this dataset"),
    ],
)
def test_why_a_preset_was_chosen(facts: DatasetFacts, ipc: int, expected: str) -> None:
    assert reason(facts, automatic(facts, ipc)) == expected


def test_what_a_preset_named_by_hand_is() -> None:
    assert reason_for_name(preset("mtt-cifar100-ipc10")) == "named, a published cell"
    assert reason_for_name(preset("cifar10-cpu")) == "named"
