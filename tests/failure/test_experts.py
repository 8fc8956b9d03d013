"""Whatever dies while experts are trained: the same bytes, and at most one epoch of each killed expert done twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_ray.config import Config
from ast_ray.errors import ResourceError
from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.experts.train import ExpertJob
from ast_ray.stages.run.pipeline import Plan, expert_jobs
from tests.failure.conftest import alive, same_experts
from tests.failure.notes import Notes, until
from tests.failure.watched import WatchedExpert
from tests.tiny import Recorder, subprocess_environment, tiny_plan

pytestmark = [pytest.mark.ray, pytest.mark.failure]
Killer = Callable[[], None]


def train(
    plan: Plan, notes: Notes, strike: Killer, *, slots: int = 2, max_attempts: int = 3, at: int = 2
) -> tuple[Recorder, list[ExpertJob]]:
    """Train what is missing on the cluster; ``strike`` is called when every job is held in epoch ``at``."""
    jobs, sink = expert_jobs(plan, ["ast"]), Recorder()
    held = [job.key for job in jobs if not notes.path(job.key, "held").exists()]

    def watch() -> None:
        notes.wait_held(*held)
        strike()

    striker = threading.Thread(target=watch)
    striker.start()
    executor = RayExecutor(Capacity(1, 0, slots), sink, max_attempts=max_attempts)
    try:
        list(executor.run(WatchedExpert(notes, at), jobs))
    finally:
        striker.join()
    return sink, jobs


def go_on(plan: Plan, notes: Notes) -> None:
    """The same again, in this process: whoever goes on, the bytes are the same."""
    list(SerialExecutor(Recorder()).run(WatchedExpert(notes, at=2), expert_jobs(plan, ["ast"])))


ONCE_BUT_THE_SECOND_EPOCH = {0: 1, 1: 1, 2: 2, 3: 1}


def test_an_actor_killed(
    cluster: Any, tiny: Callable[..., Config], undisturbed: Plan, notes: Notes, tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(), tmp_path / "run")

    def strike() -> None:
        os.kill(notes.pid("ast expert 1"), signal.SIGKILL)
        notes.let_go("ast expert 0", "ast expert 1")

    sink, _ = train(plan, notes, strike)
    same_experts(plan, undisturbed)
    assert [message.split(": ")[0] for message in sink.messages] == ["ast expert 1"]
    assert "its worker was lost" in sink.messages[0]
    assert dict(notes.done("ast expert 0")) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert dict(notes.done("ast expert 1")) == ONCE_BUT_THE_SECOND_EPOCH, "only the epoch it was in is trained again"


def test_a_node_with_two_actors_killed_costs_no_attempt_and_the_rest_of_the_cluster_finishes(
    cluster: Any,
    another_node: Callable[[int], Any],
    tiny: Callable[..., Config],
    undisturbed: Plan,
    notes: Notes,
    tmp_path: Path,
) -> None:
    """Four slots become two: what waits for the lost places gets those of the others when they are done."""
    node = another_node(2)
    plan = tiny_plan(tiny(expert__count=3), tmp_path / "run")
    keys = [f"ast expert {number}" for number in range(3)]
    killed: list[str] = []

    def strike() -> None:
        killed.extend(key for key in keys if notes.node(key) == node.node_id)
        cluster.remove_node(node, allow_graceful=False)
        notes.let_go(*set(keys).difference(killed))  # the others stay held until their processes are gone

    sink, _ = train(plan, notes, strike, slots=4, max_attempts=1)
    same_experts(plan, undisturbed)
    assert killed
    assert sorted(message.split(": ")[0] for message in sink.messages) == killed
    assert all("its machine was lost" in message for message in sink.messages), sink.messages
    assert {key: notes.repeated(key) for key in keys} == {key: int(key in killed) for key in keys}


def test_the_driver_killed_then_the_same_again(
    cluster: Any, root: Path, tiny: Callable[..., Config], undisturbed: Plan, notes: Notes, tmp_path: Path
) -> None:
    words = [cluster.address, tmp_path / "run", notes.folder, root]
    command = [sys.executable, "-m", "tests.failure.driver", *map(str, words)]
    driver = subprocess.Popen(command, env=subprocess_environment())
    notes.wait_held("ast expert 0")
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    until(lambda: not alive(notes.pid("ast expert 0")))
    plan = tiny_plan(tiny(expert__count=1), tmp_path / "run")
    go_on(plan, notes)
    same_experts(plan, undisturbed)
    assert dict(notes.done("ast expert 0")) == ONCE_BUT_THE_SECOND_EPOCH


def test_storage_that_vanishes_is_said_and_nothing_is_lost(
    cluster: Any, tiny: Callable[..., Config], undisturbed: Plan, notes: Notes, tmp_path: Path
) -> None:
    run, away = tmp_path / "run", tmp_path / "away"
    plan = tiny_plan(tiny(expert__count=1), run)

    def strike() -> None:
        run.rename(away)
        notes.let_go("ast expert 0")

    with pytest.raises(ResourceError, match="the experts' folder is gone") as caught:
        train(plan, notes, strike)
    assert "1 of 1 job failed" in caught.value.__notes__[0]
    assert not run.exists(), "nothing was written where the storage used to be"
    away.rename(run)
    go_on(plan, notes)
    same_experts(plan, undisturbed)
    assert dict(notes.done("ast expert 0")) == ONCE_BUT_THE_SECOND_EPOCH


def test_a_full_disk_is_said_and_nothing_is_lost(
    cluster: Any, tiny: Callable[..., Config], undisturbed: Plan, notes: Notes, small_disk: Path
) -> None:
    plan = tiny_plan(tiny(expert__count=1), small_disk / "run")
    filler = small_disk / "somebody-elses"

    def strike() -> None:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(2**12))
        notes.let_go("ast expert 0")

    with pytest.raises(ResourceError, match=r"cannot write .*No space left on device"):
        train(plan, notes, strike)
    filler.unlink()
    go_on(plan, notes)
    same_experts(plan, undisturbed)
    assert dict(notes.done("ast expert 0")) == ONCE_BUT_THE_SECOND_EPOCH
