"""A distillation killed, a slow worker, a board that dies."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_ray.config import Config
from ast_ray.ray_backend import executor as module
from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, distill_methods
from tests.failure.errands import Errand, slow_first, talks
from tests.failure.notes import Notes
from tests.failure.watched import WatchedUpdates
from tests.recorder import Recorder
from tests.tiny import tiny_plan

pytestmark = [pytest.mark.ray, pytest.mark.failure]


def test_a_killed_distillation_does_at_most_one_checkpoint_interval_again(
    cluster: Any, tiny: Callable[..., Config], undisturbed: Plan, notes: Notes, tmp_path: Path
) -> None:
    plans = []
    for name in ("one-process", "killed"):
        plans.append(tiny_plan(tiny(expert__count=3, distill__checkpoint_every=3), tmp_path / name))
        shutil.copytree(undisturbed.directory.experts, plans[-1].directory.experts)
    distill_methods(plans[0], ["ast"], SerialExecutor(Recorder()))

    def strike() -> None:
        notes.wait_held("distill ast")
        os.kill(notes.pid("distill ast"), signal.SIGKILL)

    striker = threading.Thread(target=strike)
    striker.start()
    # Validation writes a checkpoint too; it falls on the same iterations here.
    watched = WatchedUpdates(distill, notes, at=5)
    list(RayExecutor(Capacity(1, 0, 1), Recorder()).run(watched, [plans[1].distill_job("ast")]))
    striker.join()
    assert dict(notes.done("distill ast")) == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 1}
    mine, theirs = (plan.directory.method("ast") for plan in reversed(plans))
    for name in ("synthetic", "last", "initial", "outcome", "metrics"):
        assert getattr(mine, name).read_bytes() == getattr(theirs, name).read_bytes(), name


def test_a_slow_worker_holds_up_nobody(cluster: Any, notes: Notes) -> None:
    errands = [Errand(number, 6, notes) for number in range(6)]
    done = list(RayExecutor(Capacity(1, 0, 2), Recorder()).run(slow_first, errands))
    assert sorted(done) == list(range(6))
    assert done[-1] == 0


def test_the_board_killed_costs_messages_at_most(cluster: Any, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    boards: list[Any] = []
    real = module.open_board
    monkeypatch.setattr(module, "open_board", lambda: boards.append(real()) or boards[-1])

    def strike() -> None:
        notes.wait_held("errand 0")
        ray.kill(boards[0], no_restart=False)
        notes.let_go("errand 0")

    striker = threading.Thread(target=strike)
    striker.start()
    sink = Recorder()
    assert list(RayExecutor(Capacity(1, 0, 1), sink).run(talks, [Errand(0, 1, notes)])) == [0]
    striker.join()
    assert set(sink.messages) <= {"before", "after"}


def test_errands_are_told_apart(notes: Notes) -> None:
    """What the counting rests on."""
    for unit in (1, 2, 2):
        notes.add("errand 0", unit)
    assert dict(notes.done("errand 0")) == {1: 1, 2: 2}
    assert notes.repeated("errand 0") == 1
