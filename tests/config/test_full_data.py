from __future__ import annotations

import pytest

from ast_ray.config import Config, apply_overrides
from ast_ray.config.full_data import full_epochs, steps_per_epoch
from ast_ray.config.presets import preset


@pytest.mark.parametrize(
    ("images", "batch", "epochs", "steps", "expected"),
    [
        (45, 16, 20, 1000, 334),  # three steps per epoch: 1,002 of them
        (45, 256, 20, 1000, 1000),  # one batch holds all images
        (1000, 64, 30, 1000, 63),  # digits: 16 per epoch, 1,008 in all
        (2560, 256, 50, 1000, 100),  # cifar10-cpu: exactly 1,000
        (50_000, 256, 50, 1000, 50),  # 9,800 steps are more than asked for
        (45, 16, 20, 0, 20),
        (45, 16, 20, 60, 20),  # 20 epochs take just as many
        (45, 16, 20, 61, 21),
    ],
)
def test_epochs_by_hand(images: int, batch: int, epochs: int, steps: int, expected: int) -> None:
    given = {"expert.batch_size": batch, "evaluate.full_epochs": epochs, "evaluate.full_steps": steps}
    config = apply_overrides(Config(), given)
    assert full_epochs(config, images) == expected
    assert expected * steps_per_epoch(config, images) >= steps


def test_no_published_cell_is_trained_longer_than_before() -> None:
    for name, images in (("cifar10-ipc1", 45_000), ("tiny-ipc1", 90_000), ("nette-ipc1", 11_700)):
        assert full_epochs(preset(name), images) == preset(name).evaluate.full_epochs
