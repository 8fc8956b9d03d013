"""The processes of a trial are found whatever they hide, and no others are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.trial_processes import Processes, mark

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

# Starts a child in a session of its own, without the mark in its environment, and ends when told to.
_PARENT = """
import subprocess, sys
child = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
subprocess.Popen(child, env={}, stdout=subprocess.DEVNULL, start_new_session=True)
print("up", flush=True)
sys.stdin.read()
"""


def start(folder: Path, *, marked: bool) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **(mark(folder) if marked else {})}
    pipe = subprocess.PIPE
    driver = subprocess.Popen(
        [sys.executable, "-S", "-c", _PARENT], env=environment, stdin=pipe, stdout=pipe, start_new_session=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"up\n"
    return driver


def test_a_child_that_outlives_its_parent_is_found_and_ended(tmp_path: Path) -> None:
    with start(tmp_path, marked=True) as driver, Processes(driver.pid, tmp_path) as found:
        deadline = time.monotonic() + 30
        while len(found.now()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(found.now()) == 2
        driver.communicate()
        (line,) = found.left(0)
        assert "time.sleep(600)" in line
        found.end()
        assert found.left(30) == []


def test_processes_of_others_are_none_of_the_trial(tmp_path: Path) -> None:
    with start(tmp_path, marked=False) as other:
        with start(tmp_path, marked=True) as driver, Processes(driver.pid, tmp_path) as found:
            assert other.pid not in {pid for pid, _ in found.now()}
            driver.communicate()
            found.end()
        assert other.poll() is None
        with Processes(other.pid, tmp_path):  # ends its child too
            other.communicate()
