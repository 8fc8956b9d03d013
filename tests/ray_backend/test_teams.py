"""A distillation shared by two processes: the bytes of one process, whoever dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ast_ray.config import Config
from ast_ray.errors import DivergenceError, StoreError
from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.stages.run.pipeline import Plan
from ast_ray.telemetry.metrics import read_metrics
from tests.ray_backend.shared_distillation import SHARED, Witness, job_in, members_in
from tests.tiny import Recorder, assert_same

pytestmark = pytest.mark.ray


def test_three_segments_on_two_actors_are_the_bytes_of_one_process(
    tiny: Callable[..., Config], serial: Plan, two_slots: Capacity, alone: Path, tmp_path: Path
) -> None:
    job = job_in(tiny(**SHARED), tmp_path / "run", serial)
    (outcome,) = RayExecutor(two_slots, Recorder()).run(Witness(tmp_path), [job])
    assert outcome["iterations"] == 8  # type: ignore[index]
    assert members_in(tmp_path) == ["member-0-of-2", "member-1-of-2"]
    assert_same(tmp_path / "run", alone)
    rows = read_metrics(job.directory.metrics)
    assert len(rows) == 8
    assert all(len(row["segments"]) == 3 for row in rows)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_member_killed_costs_at_most_a_checkpoint_interval_and_no_byte(
    tiny: Callable[..., Config], serial: Plan, two_slots: Capacity, alone: Path, tmp_path: Path, rank: int
) -> None:
    job, sink = job_in(tiny(**SHARED), tmp_path / "run", serial), Recorder()
    list(RayExecutor(two_slots, sink).run(Witness(tmp_path, rank=rank, iteration=6), [job]))
    assert (tmp_path / "killed").exists()
    assert len(members_in(tmp_path)) == 4
    begun = sorted(int(path.read_text()) for path in tmp_path.glob(f"member-{rank}-*"))
    assert begun == [0, 4]  # it was killed in iteration 6, checkpoints are two apart
    (message,) = [message for message in sink.messages if "lost" in message]
    assert f"worker {rank} of the team" in message
    assert_same(tmp_path / "run", alone)


def test_a_divergence_stops_every_member_and_names_the_segment(
    tiny: Callable[..., Config], serial: Plan, two_slots: Capacity, tmp_path: Path
) -> None:
    config = tiny(**{**SHARED, "distill__iterations": 12}, distill__student_lr=1e6, distill__syn_steps=10)
    job, sink = job_in(config, tmp_path / "run", serial), Recorder()
    with pytest.raises(DivergenceError, match=r"segment \d of 3, expert .* last good state: iteration \d"):
        list(RayExecutor(two_slots, sink).run(Witness(tmp_path), [job]))
    assert len(members_in(tmp_path)) == 2  # not tried again
    assert not [message for message in sink.messages if "lost" in message]


def test_an_error_of_one_member_is_the_error_of_the_job(
    tiny: Callable[..., Config], serial: Plan, two_slots: Capacity, tmp_path: Path
) -> None:
    """A missing expert is met by whoever draws it; the others do not wait for ever."""
    job, sink = job_in(tiny(**SHARED, distill__init="random-real"), tmp_path / "run", serial), Recorder()
    (job.buffer.folder / "expert-00001.parquet").unlink()
    with pytest.raises(StoreError, match=r"expert-00001\.parquet: no such expert"):
        list(RayExecutor(two_slots, sink).run(Witness(tmp_path), [job]))
    members = members_in(tmp_path)  # one that had not begun when the other failed never does
    assert members == sorted(set(members))  # not tried again
    assert not [message for message in sink.messages if "lost" in message]
