from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from ast_ray.config import ComputeConfig
from ast_ray.errors import ConfigError, ResourceError
from ast_ray.ray_backend import session
from ast_ray.ray_backend.private_ray import session_folder
from ast_ray.ray_backend.session import Capacity, capacity, ray_session
from ast_ray.ray_backend.team import TeamPlan, team_size
from ast_ray.ray_backend.workers import strategy
from ast_ray.stages.executor import Resources


@pytest.mark.parametrize(
    ("settings", "resources", "expected"),
    [
        ({}, {"CPU": 2.0}, Capacity(1.0, 0.0, 2)),
        ({"workers": 1}, {"CPU": 8.0}, Capacity(1.0, 0.0, 1)),
        ({"workers": 99}, {"CPU": 8.0}, Capacity(1.0, 0.0, 8)),
        ({"cpus_per_task": 0.5}, {"CPU": 2.0}, Capacity(0.5, 0.0, 4)),
        ({"cpus_per_task": 3.0}, {"CPU": 8.0}, Capacity(3.0, 0.0, 2)),
        ({}, {"CPU": 8.0, "GPU": 2.0}, Capacity(1.0, 1.0, 2)),
        ({"gpus_per_task": 0.25}, {"CPU": 8.0, "GPU": 1.0}, Capacity(1.0, 0.25, 4)),
        ({"device": "cpu"}, {"CPU": 8.0, "GPU": 1.0}, Capacity(1.0, 0.0, 8)),
    ],
)
def test_how_many_tasks_fit(settings: dict[str, float], resources: dict[str, float], expected: Capacity) -> None:
    assert capacity(ComputeConfig(**settings), resources) == expected  # type: ignore[arg-type]


def test_a_gpu_where_the_cluster_has_none() -> None:
    with pytest.raises(ResourceError, match="the Ray cluster has no GPU"):
        capacity(ComputeConfig(device="cuda"), {"CPU": 2.0})


def test_a_task_larger_than_the_cluster() -> None:
    with pytest.raises(ConfigError) as caught:
        capacity(ComputeConfig(cpus_per_task=4, gpus_per_task=2), {"CPU": 2.0, "GPU": 1.0})
    assert [problem.setting for problem in caught.value.problems] == ["compute.cpus_per_task", "compute.gpus_per_task"]
    assert "the cluster has 2 CPU" in str(caught.value)


@pytest.mark.ray
def test_a_running_ray_is_used_and_left_running(local_ray: None) -> None:
    import ray

    with ray_session(ComputeConfig(device="cpu", workers=1)) as found:
        assert found == Capacity(1.0, 0.0, 1)
    assert ray.is_initialized()


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Where Ray was asked to start or to join; it never does."""
    import ray

    asked: list[object] = []

    def init(**given: object) -> None:
        asked.append(given.get("_temp_dir") or given["address"])
        raise InterruptedError("not started")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # of the other tests' Ray
    monkeypatch.setattr(session, "watched", nullcontext)
    return asked


def connected(compute: ComputeConfig) -> None:
    """Open a session and leave it."""
    with ray_session(compute):
        pass


def test_ray_is_not_asked_to_join_where_nothing_answers(starts: list[object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ResourceError, match=r"no Ray cluster answers \(Connection refused\)"):
        connected(ComputeConfig(address=address))
    assert starts == []


def test_ray_is_not_started_in_a_folder_that_it_cannot_use(
    starts: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("/tmp/" + "x" * 60, "/proc/none"):
        monkeypatch.setenv("RAY_TMPDIR", folder)
        with pytest.raises(ResourceError, match=f"RAY_TMPDIR = {folder}: "):
            connected(ComputeConfig())
    assert starts == []


def test_sessions_of_dead_drivers_are_cleared_away_before_ray_starts(
    starts: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        place = session_folder()
        assert place is not None
        for day, pid in ((1, ended.pid), (2, ended.pid), (3, os.getpid())):
            (place / f"session_2026-01-0{day}_00-00-00_000000_{pid}" / "logs").mkdir(parents=True)
        with pytest.raises(ResourceError, match=r"Ray did not start on this machine \(not started\)"):
            connected(ComputeConfig())
        assert starts == [str(place)]
        assert sorted(path.name[:18] for path in Path(place).iterdir()) == ["session_2026-01-02", "session_2026-01-03"]


GIB = 2**30
SHARED = Capacity(1.0, 1.0, 2, gpu_memory=40 * GIB, gpu_count=2, cpu_slots=12)


@pytest.mark.parametrize(
    ("memory", "gpus"),
    [
        (0, 1.0),  # not known: a GPU of its own
        (30 * GIB, 1.0),
        (11 * GIB, 0.5),  # with the process's own gibibyte, two fit into what is counted on of 40
        (7 * GIB, 0.3333),
        (GIB // 4, 0.125),  # never more than eight
    ],
)
def test_small_jobs_share_a_gpu_by_their_memory(memory: int, gpus: float) -> None:
    assert SHARED.gpus_for(Resources(gpu_memory=memory)) == gpus
    assert Capacity(1.0, 1.0, 2).gpus_for(Resources(gpu_memory=memory)) == 1.0


def test_as_many_at_once_as_the_smallest_allow() -> None:
    large, small = Resources(), Resources(gpu_memory=7 * GIB)
    assert SHARED.room([large]) == 2
    assert SHARED.room([large, small]) == 6
    assert SHARED.room([Resources(gpu_memory=1)]) == 12  # there are no more processors
    assert Capacity(1.0, 1.0, 2).room([small]) == 2


def test_sharing_needs_the_size_of_the_gpus_and_the_settings_leave() -> None:
    resources = {"CPU": 16.0, "GPU": 2.0}
    shared = capacity(ComputeConfig(workers=5), resources, gpu_memory=40 * GIB)
    assert (shared.gpu_count, shared.cpu_slots, shared.slots) == (2, 5, 2)
    assert capacity(ComputeConfig(gpus_per_task=0.5), resources).gpus_for(Resources(gpu_memory=1)) == 0.5


def test_the_settings_reach_the_workers() -> None:
    found = capacity(ComputeConfig(placement="spread"), {"CPU": 2.0})
    assert (found.placement, strategy(found)) == ("spread", "SPREAD")


@pytest.mark.parametrize(
    ("members", "resources", "size"),
    [
        (4, {"CPU": 8.0}, 4),
        (4, {"CPU": 3.0}, 2),  # two rounds with two as with three
        (4, {"CPU": 1.0}, 1),
        (5, {"CPU": 4.0}, 3),
        (4, {"CPU": 64.0, "GPU": 2.0}, 4),
        (3, {}, 1),
    ],
)
def test_a_team_is_as_large_as_the_cluster_allows_and_useful(
    members: int, resources: dict[str, float], size: int
) -> None:
    assert team_size(TeamPlan(members, 1.0, 0.0), resources) == size


def test_a_team_on_gpus_has_one_each() -> None:
    assert team_size(TeamPlan(4, 1.0, 1.0), {"CPU": 64.0, "GPU": 2.0}) == 2
