"""A team over two machines one of which is lost, and jobs that share a GPU (a logical one)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_ray.config import Config
from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.ray_backend.workers import ActorSlot
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.run.pipeline import Plan
from ast_ray.telemetry.progress import Update
from tests.failure.errands import Small, most_at_once
from tests.ray_backend.shared_distillation import SHARED, Witness, job_in, members_in
from tests.recorder import Recorder
from tests.tiny import assert_same

pytestmark = [pytest.mark.ray, pytest.mark.failure]


class AtIteration(Recorder):
    """Does something once when an iteration is told."""

    def __init__(self, iteration: int, action: Callable[[], object]) -> None:
        super().__init__()
        self.iteration, self.action, self.done = iteration, action, False

    def update(self, update: Update) -> None:
        super().update(update)
        if update.done >= self.iteration and not self.done:
            self.done = True
            self.action()


def test_a_team_that_loses_a_machine_goes_on_with_fewer_members_and_the_same_bytes(
    tiny: Callable[..., Config],
    undisturbed: Plan,
    cluster: Any,
    another_node: Callable[[int], Any],
    tmp_path: Path,
) -> None:
    config = tiny(**{**SHARED, "distill__iterations": 60, "distill__validate_every": 0})
    alone = job_in(config, tmp_path / "alone", undisturbed)
    distill(alone, Recorder())
    node = another_node(1)
    sink = AtIteration(5, lambda: cluster.remove_node(node, allow_graceful=False))
    job = job_in(config, tmp_path / "run", undisturbed)
    list(RayExecutor(Capacity(1, 0, 3, placement="spread"), sink).run(Witness(tmp_path), [job]))
    assert sink.done
    pairs = ((0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    assert members_in(tmp_path) == [f"member-{rank}-of-{size}" for rank, size in pairs]
    assert_same(tmp_path / "run", tmp_path / "alone")


def test_a_team_whose_leader_is_lost_gives_its_room_to_the_next_one(
    tiny: Callable[..., Config], undisturbed: Plan, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader made the placement group, and Ray keeps that until the job of its maker ends."""
    import ray

    leaders: list[Any] = []
    start = ActorSlot.start

    def noted(slot: ActorSlot, *args: Any) -> Any:
        reference = start(slot, *args)
        leaders.append(slot._worker)
        return reference

    monkeypatch.setattr(ActorSlot, "start", noted)
    config = tiny(**{**SHARED, "distill__iterations": 20, "distill__validate_every": 0})
    job = job_in(config, tmp_path / "run", undisturbed)
    sink = AtIteration(5, lambda: ray.kill(leaders[0]))
    (outcome,) = RayExecutor(Capacity(1, 0, 2), sink).run(Witness(tmp_path), [job])
    assert outcome["iterations"] == 20  # type: ignore[index]
    assert len(leaders) == 2
    assert len(members_in(tmp_path)) == 4
    states = {entry["state"] for entry in ray.util.placement_group_table().values()}
    assert states == {"REMOVED"}


def test_small_jobs_share_a_gpu_and_give_it_back(cluster: Any, tmp_path: Path) -> None:
    import ray

    node = cluster.add_node(num_cpus=4, num_gpus=1, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes()
    try:
        capacity = Capacity(1, 1.0, 1, gpu_memory=40 * 2**30, gpu_count=1, cpu_slots=4)
        jobs = [Small(number, 7 * 2**30, str(tmp_path)) for number in range(4)]  # three fit
        found = list(RayExecutor(capacity, Recorder()).run(most_at_once, jobs))
        assert max(found) == 3
        whole = [Small(number, 0, str(tmp_path)) for number in range(2)]
        assert list(RayExecutor(capacity, Recorder()).run(most_at_once, whole)) == [1, 1]
        for _ in range(50):
            if ray.available_resources().get("GPU") == 1.0:
                break
            time.sleep(0.1)
        assert ray.available_resources()["GPU"] == 1.0
    finally:
        cluster.remove_node(node)
