from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ast_ray.storage import atomic
from ast_ray.storage import stale_files as leftovers
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.lock import Holder, held
from ast_ray.storage.stale_files import remove_leftovers
from ast_ray.storage.trajectory import TrajectoryWriter
from tests.storage.test_atomic import KILLED
from tests.tiny import subprocess_environment


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_the_file_of_a_killed_writer_goes_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    command = [sys.executable, "-c", KILLED, str(folder / "expert-00000.parquet")]
    assert subprocess.run(command, env=subprocess_environment(), check=False).returncode == -signal.SIGKILL
    (left,) = folder.iterdir()
    (folder / "expert-00001.parquet").write_bytes(b"whole")
    aged(left, 5)
    assert remove_leftovers(tmp_path) == [left]
    assert [path.name for path in folder.iterdir()] == ["expert-00001.parquet"]


def test_a_living_writer_keeps_its_file_however_slow_it_is(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "slow.txt") as temporary:
        temporary.write_text("half")
        aged(temporary, 3600)
        assert remove_leftovers(tmp_path) == []
    assert (tmp_path / "slow.txt").read_text() == "half"


def test_a_trajectory_grows_in_the_locked_file(tmp_path: Path) -> None:
    with TrajectoryWriter.create(tmp_path / "expert.parquet", 3, {}) as writer:
        writer.append(0, np.zeros(3, np.float32), {})
        (partial,) = tmp_path.glob(".partial-*")
        assert held(partial) is Holder.SOMEBODY
    assert held(tmp_path / "expert.parquet") is Holder.NOBODY


def test_temporary_files_of_safetensors_go_by_age_and_other_hidden_files_stay(tmp_path: Path) -> None:
    for name in (".tmpa1B2c3", ".tmp-of-mine", ".hidden"):
        (tmp_path / name).write_bytes(b"")
        aged(tmp_path / name, 7200)
    (tmp_path / ".tmpzzzzzz").write_bytes(b"")
    assert [path.name for path in remove_leftovers(tmp_path)] == [".tmpa1B2c3"]


def test_without_locks_only_what_is_a_day_old_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "remove_unheld", lambda _: Holder.UNKNOWN)
    for name, age in (("hour", 3600), ("days", 200_000)):
        (tmp_path / f".partial-{name}.json").write_text("{")
        aged(tmp_path / f".partial-{name}.json", age)
    assert [path.name for path in remove_leftovers(tmp_path)] == [".partial-days.json"]


def test_a_file_deleted_before_it_was_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a writer's making its file and locking it somebody takes it for a left-over."""
    real, removed = atomic.tempfile.mkstemp, []

    def interrupted(**given: Any) -> tuple[int, str]:
        found = real(**given)
        if not removed:
            aged(Path(found[1]), 5)
            removed.extend(remove_leftovers(tmp_path))
        return found

    monkeypatch.setattr(atomic.tempfile, "mkstemp", interrupted)
    atomic.write_text(tmp_path / "file.txt", "whole")
    assert len(removed) == 1
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_files_made_without_a_lock_are_given_a_minute(tmp_path: Path) -> None:
    for name, age in ((".partial-12-young", 10), (".partial-12-old", 100)):
        aged_file = tmp_path / name
        aged_file.write_text("x")
        aged(aged_file, age)
    assert [path.name for path in remove_leftovers(tmp_path)] == [".partial-12-old"]


def test_what_safetensors_put_in_place_is_held_while_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Holder] = []
    real = os.fsync

    def look(descriptor: int) -> None:
        seen.extend(held(path) for path in tmp_path.glob(".partial-*"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    with atomic_path(tmp_path / "x.safetensors") as temporary:
        save_file({"x": torch.ones(2)}, temporary)
    assert seen == [Holder.SOMEBODY]
