from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ast_ray.errors import StoreError
from ast_ray.storage.expert_buffer import Buffer, ExpertSummary
from ast_ray.storage.trajectory import TrajectoryWriter
from tests import documents

IDENTITY: dict[str, Any] = {"seed": 0, "expert": {"lr": 0.01, "epochs": 2}, "network": {"width": 4}}


def train(buffer: Buffer, expert_id: int) -> None:
    """Write an expert of 3 points and 2 parameters."""
    metadata = {"fingerprint": buffer.fingerprint, "expert_id": expert_id}
    with TrajectoryWriter.create(buffer.path(expert_id), 2, metadata) as writer:
        for epoch in range(3):
            theta = np.array([epoch, expert_id], dtype=np.float32)
            row = {"move": float("nan") if epoch == 0 else 2.0 * epoch, "validation_accuracy": epoch / 10}
            writer.append(epoch, theta, row)


@pytest.fixture
def buffer(tmp_path: Path) -> Buffer:
    made = Buffer(tmp_path / "experts", IDENTITY, 3)
    made.prepare()
    return made


def test_what_is_finished_is_not_missing(buffer: Buffer) -> None:
    assert buffer.missing() == [0, 1, 2]
    train(buffer, 1)
    assert buffer.missing() == [0, 2]
    assert len(buffer) == 3


def test_segment_gives_float32_vectors_that_may_be_written(buffer: Buffer) -> None:
    train(buffer, 2)
    segment = buffer.segment(2, 1, 1)
    assert [theta.tolist() for theta in segment] == [[1, 2], [2, 2]]
    assert all(theta.dtype == torch.float32 for theta in segment)
    segment[0].zero_()
    assert buffer.segment(2, 1, 0)[0].tolist() == [1, 2]


def test_summaries_leave_out_the_starting_point(buffer: Buffer) -> None:
    train(buffer, 0)
    assert buffer.summaries() == [ExpertSummary(0, epochs=2, avg_var=3.0, accuracy=0.2)]  # (2 + 4) / 2


def test_another_identity_is_refused_with_every_difference(buffer: Buffer) -> None:
    other = {**IDENTITY, "seed": 7, "expert": {"lr": 0.003, "epochs": 2}}
    before = (buffer.folder / "buffer.json").read_bytes()
    with pytest.raises(StoreError) as caught:
        Buffer(buffer.folder, other, 3).prepare()
    assert "expert.lr: 0.003 here, 0.01 there" in str(caught.value)
    assert "seed: 7 here, 0 there" in str(caught.value)
    assert "epochs" not in str(caught.value)
    assert (buffer.folder / "buffer.json").read_bytes() == before


def test_the_same_identity_in_another_order_is_the_same(buffer: Buffer) -> None:
    Buffer(buffer.folder, dict(reversed(IDENTITY.items())), 9).prepare()


def test_check_writes_nothing(tmp_path: Path) -> None:
    Buffer(tmp_path / "experts", IDENTITY, 3).check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"identity": 3}'])
def test_a_damaged_marker_is_named(buffer: Buffer, content: str) -> None:
    (buffer.folder / "buffer.json").write_text(content)
    with pytest.raises(StoreError, match=r"buffer\.json|other settings"):
        buffer.check()


def test_an_expert_of_another_buffer_is_an_error_not_missing(buffer: Buffer, tmp_path: Path) -> None:
    foreign = Buffer(tmp_path / "foreign", {**IDENTITY, "seed": 1}, 1)
    train(foreign, 0)
    shutil.copy(foreign.path(0), buffer.path(0))
    with pytest.raises(StoreError, match=f"belongs to expert 0 of buffer {foreign.fingerprint}, not"):
        buffer.missing()


def test_a_renamed_expert_is_an_error(buffer: Buffer) -> None:
    train(buffer, 0)
    buffer.path(0).rename(buffer.path(1))
    with pytest.raises(StoreError, match="belongs to expert 0"):
        buffer.missing()


def test_a_truncated_expert_is_an_error_that_says_what_to_do(buffer: Buffer) -> None:
    train(buffer, 0)
    content = buffer.path(0).read_bytes()
    buffer.path(0).write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="delete it and it is trained again"):
        buffer.missing()
    buffer.path(0).unlink()
    assert buffer.missing() == [0, 1, 2]


def test_the_marker_says_whose_experts_these_are(buffer: Buffer) -> None:
    found = documents.content(buffer.folder / "buffer.json")
    assert found == {"fingerprint": buffer.fingerprint, "identity": IDENTITY}


def test_a_file_is_opened_once_however_often_one_asks(buffer: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    from ast_ray.storage import expert_buffer as module

    train(buffer, 0)
    opened: list[Path] = []
    real = module.read_metadata
    monkeypatch.setattr(module, "read_metadata", lambda path: opened.append(path) or real(path))
    for _ in range(3):
        assert buffer.missing() == [1, 2]
    assert opened == [buffer.path(0)]
    buffer.path(0).write_bytes(buffer.path(0).read_bytes()[:-9])
    with pytest.raises(StoreError, match="delete it"):
        buffer.missing()
