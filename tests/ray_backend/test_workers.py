from __future__ import annotations

import os

import pytest

from ast_ray.ray_backend.session import Capacity
from ast_ray.ray_backend.workers import ActorSlot, TaskSlot

pytestmark = pytest.mark.ray


def process(job: int, sink: object) -> tuple[int, int]:
    return job, os.getpid()


def test_an_actor_stays_from_job_to_job_and_is_replaced_when_renewed(local_ray: None) -> None:
    import ray

    slot = ActorSlot(Capacity(1, 0, 1))
    (one, first), (two, second) = (ray.get(slot.start(process, job, None)) for job in (1, 2))
    assert (one, two) == (1, 2)
    assert first == second != os.getpid()
    slot.renew()
    assert ray.get(slot.start(process, 3, None))[1] != first
    slot.close()


def test_a_task_slot_runs_elsewhere_and_has_nothing_to_close(local_ray: None) -> None:
    import ray

    slot = TaskSlot(Capacity(0.5, 0, 1))
    job, where = ray.get(slot.start(process, 7, None))
    assert job == 7
    assert where != os.getpid()
    slot.renew()
    slot.close()
