from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ast_ray.store import leftovers
from ast_ray.store.atomic import atomic_path
from ast_ray.store.leftovers import remove_leftovers
from ast_ray.store.lock import Holder, held
from ast_ray.store.trajectory import TrajectoryWriter
from tests.store.test_atomic import KILLED
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
    assert remove_leftovers(tmp_path) == [], "too young to be sure"
    aged(left, 3600)
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
    monkeypatch.setattr(leftovers, "held", lambda _: Holder.UNKNOWN)
    for name, age in (("hour", 3600), ("days", 200_000)):
        (tmp_path / f".partial-{name}.json").write_text("{")
        aged(tmp_path / f".partial-{name}.json", age)
    assert [path.name for path in remove_leftovers(tmp_path)] == [".partial-days.json"]
