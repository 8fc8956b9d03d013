from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ast_ray.storage.checkpoint import Checkpoint, write_checkpoint
from ast_ray.storage.partial_trajectory import PartialTrajectory, TrajectoryShard
from ast_ray.storage.trajectory import METRICS

P = 6


def theta(epoch: int) -> Tensor:
    return torch.arange(P, dtype=torch.float32) + 100 * epoch


def part(first: int, last: int) -> TrajectoryShard:
    epochs = range(first, last + 1)
    rows = [dict.fromkeys(METRICS, math.nan if epoch == 0 else epoch / 3) for epoch in epochs]
    return TrajectoryShard(first, torch.stack([theta(epoch) for epoch in epochs]), rows, -theta(last))


def kept(progress: PartialTrajectory) -> list[tuple[int, int]]:
    """First and last epoch of every part, each checked against what was written."""
    found = []
    for read in progress.parts():
        expected = part(read.first, read.last)
        assert torch.equal(read.theta, expected.theta)
        assert torch.equal(read.velocity, expected.velocity)
        assert repr(read.statistics) == repr(expected.statistics)
        found.append((read.first, read.last))
    return found


@pytest.fixture
def progress(tmp_path: Path) -> PartialTrajectory:
    return PartialTrajectory(tmp_path / ".expert-00000", "fingerprint/0")


def test_what_was_written_comes_back_bit_for_bit(progress: PartialTrajectory) -> None:
    assert kept(progress) == []
    for first, last in ((0, 0), (1, 3), (4, 4)):
        progress.write(part(first, last))
    assert kept(progress) == [(0, 0), (1, 3), (4, 4)]
    progress.remove()
    assert not progress.folder.exists()
    assert kept(progress) == []


def test_nothing_is_taken_from_behind_a_gap_or_a_damaged_part(progress: PartialTrajectory) -> None:
    for first, last in ((0, 1), (2, 2), (3, 5)):
        progress.write(part(first, last))
    damaged = progress.folder / "epochs-00002-00002.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    assert kept(progress) == [(0, 1)]
    damaged.unlink()
    assert kept(progress) == [(0, 1)]


def test_parts_of_two_writers_overlap(progress: PartialTrajectory) -> None:
    for first, last in ((0, 3), (4, 7), (4, 5), (6, 9)):
        progress.write(part(first, last))
    assert kept(progress) == [(0, 3), (4, 5), (6, 7), (8, 9)]


def test_parts_of_another_expert_are_not_used(progress: PartialTrajectory) -> None:
    progress.write(part(0, 1))
    assert kept(PartialTrajectory(progress.folder, "fingerprint/1")) == []


THETA, VELOCITY, STATISTICS = torch.zeros(1, P), torch.zeros(P), torch.zeros(1, len(METRICS), dtype=torch.float64)
WHOLE = {"theta": THETA, "velocity": VELOCITY, "statistics": STATISTICS}


@pytest.mark.parametrize(
    ("changed", "values"),
    [
        ({"theta": None}, {"first": 0}),
        ({"velocity": None}, {"first": 0}),
        ({"statistics": None}, {"first": 0}),
        ({"theta": THETA[0]}, {"first": 0}),
        ({"theta": torch.tensor(1.0)}, {"first": 0}),
        ({"theta": THETA[:0], "statistics": STATISTICS[:0]}, {"first": 0}),
        ({"theta": torch.zeros(2, P)}, {"first": 0}),
        ({"theta": THETA.double()}, {"first": 0}),
        ({"statistics": STATISTICS[:, 1:]}, {"first": 0}),
        ({"velocity": torch.zeros(P + 1)}, {"first": 0}),
        ({"theta": torch.zeros(1, P + 1), "velocity": torch.zeros(P + 1)}, {"first": 0}),
        ({}, {}),
        ({}, {"first": "0"}),
        ({}, {"first": -1}),
    ],
)
def test_parts_with_other_tensors_or_values_count_as_missing(
    progress: PartialTrajectory, changed: dict[str, Tensor | None], values: dict[str, object]
) -> None:
    path = progress.folder / "epochs-00000-00000.safetensors"
    write_checkpoint(path, Checkpoint("fingerprint/0", WHOLE, {"first": 0}))
    assert len(list(progress.parts(P))) == 1
    tensors = {name: tensor for name, tensor in {**WHOLE, **changed}.items() if tensor is not None}
    write_checkpoint(path, Checkpoint("fingerprint/0", tensors, values))
    assert list(progress.parts(P)) == []
