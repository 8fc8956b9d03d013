"""The same distillation held by Ray Train, started once: that takes longer than all other tests of teams together.

The first test is marked ``slow``: leave it out with ``-m "not slow"``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError
from ray.train import WorkerGroupError

from ast_ray.config import Config
from ast_ray.errors import StoreError, WorkerLostError
from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.ray_backend.trained import telling
from ast_ray.stages.run.pipeline import Plan
from tests.ray_backend.shared_distillation import SHARED, Witness, job_in, members_in
from tests.tiny import Recorder, assert_same


@pytest.mark.ray
@pytest.mark.slow
def test_a_trainer_gives_the_bytes_of_one_process(
    tiny: Callable[..., Config], serial: Plan, two_slots: Capacity, alone: Path, tmp_path: Path
) -> None:
    job = job_in(tiny(**SHARED), tmp_path / "run", serial)
    (outcome,) = RayExecutor(dataclasses.replace(two_slots, teams="train"), Recorder()).run(Witness(tmp_path), [job])
    assert outcome["iterations"] == 8  # type: ignore[index]
    assert members_in(tmp_path) == ["member-0-of-2", "member-1-of-2"]
    assert not job.directory.train.exists()
    assert_same(tmp_path / "run", alone)


BROKEN = WorkerLostError("a worker of the team is gone (Connection closed by peer)")


@pytest.mark.parametrize(
    ("failures", "expected", "text"),
    [
        ({0: BROKEN, 1: StoreError("no such expert")}, StoreError, "no such expert"),
        ({0: BROKEN, 1: ZeroDivisionError("a bug")}, ZeroDivisionError, "a bug"),
        ({0: BROKEN, 1: ActorDiedError()}, WorkerLostError, "worker 1 of the team: ActorDiedError"),
        ({1: BROKEN}, WorkerLostError, "worker 1 of the team: WorkerLostError: a worker of the team is gone"),
    ],
)
def test_the_error_that_says_most(failures: dict[int, Exception], expected: type[Exception], text: str) -> None:
    found = telling(WorkerGroupError("several", failures))
    assert type(found) is expected
    assert text in str(found)
