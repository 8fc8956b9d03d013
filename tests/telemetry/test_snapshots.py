from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.telemetry.snapshots import Snapshots, due, sheet


def numbered(channels: int = 1, ipc: int = 2) -> SyntheticSet:
    """Every pixel of image i of class k is (10 k + i) / 255."""
    labels = torch.arange(3).repeat_interleave(ipc)
    values = torch.tensor([10.0 * k + i for k in range(3) for i in range(ipc)]) / 255
    images = values.view(-1, 1, 1, 1).expand(-1, channels, 2, 4).contiguous()
    return SyntheticSet(images, labels, 0.01, ("a", "b", "c"))


def test_a_row_per_class() -> None:
    found = sheet(numbered())
    assert found.shape == (6, 8)
    assert found[::2, ::4].tolist() == [[0, 1], [10, 11], [20, 21]]


def test_colour_and_at_most_so_many_columns() -> None:
    found = sheet(numbered(3, ipc=5), columns=3)
    assert found.shape == (6, 12, 3)
    assert found[2, 8].tolist() == [12, 12, 12]


def test_classes_may_come_in_any_order() -> None:
    ordered = numbered()
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    mixed = SyntheticSet(ordered.images[order], ordered.labels[order], 0.01, ("a", "b", "c"))
    assert sheet(mixed)[2, ::4].tolist() == [11, 10]


def test_about_twenty_evenly_and_the_last() -> None:
    assert [number for number in range(1, 8) if due(number, 7)] == [1, 2, 3, 4, 5, 6, 7]
    moments = [number for number in range(1, 5001) if due(number, 5000)]
    assert moments == list(range(250, 5001, 250))


def test_going_on_drops_what_came_later(tmp_path: Path) -> None:
    taken = Snapshots(tmp_path, after=0)
    for number in (0, 50, 100, 150):
        taken.take(number, numbered())
    kept = (tmp_path / "iteration-000050.png").read_bytes()
    Snapshots(tmp_path, after=99)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iteration-000000.png", "iteration-000050.png"]
    assert (tmp_path / "iteration-000050.png").read_bytes() == kept
    assert np.array_equal(np.asarray(Image.open(tmp_path / "iteration-000050.png")), sheet(numbered()))
