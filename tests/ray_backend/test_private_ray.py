"""What a Ray of this machine alone leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ast_ray.ray_backend.private_ray import remove_dead_sessions, session_folder
from tests.tiny import subprocess_environment

_DRIVER = """
import time, ray
from ast_ray.config import ComputeConfig
from ast_ray.ray_backend.session import ray_session

with ray_session(ComputeConfig(device="cpu")):
    print(ray.get(ray.remote(lambda: 1).remote()), flush=True)
    time.sleep(600)
"""

_ENDED = """
import time
from ast_ray import signals
from ast_ray.config import ComputeConfig
from ast_ray.ray_backend.session import ray_session

signals.listen()
try:
    with ray_session(ComputeConfig(device="cpu")):
        print("up", flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    print(signals.cause(signals.interruption()), flush=True)
    signals.leave(signals.exit_code(signals.interruption()))
"""


@pytest.fixture
def short_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sockets have short names only."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def test_sessions_of_the_dead_go_but_for_the_last(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for day, pid in ((1, ended.pid), (2, ended.pid), (3, os.getpid()), (4, ended.pid), (5, os.getpid())):
        (tmp_path / f"session_2026-01-0{day}_00-00-00_000000_{pid}" / "logs").mkdir(parents=True)
    (tmp_path / "session_of_somebody").mkdir()
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_of_somebody")
    remove_dead_sessions(tmp_path)
    assert {path.name[:18] for path in tmp_path.iterdir()} == {
        "session_2026-01-03",
        "session_2026-01-04",
        "session_2026-01-05",
        "session_of_somebod",
        "session_latest",
    }


def test_the_folder_is_this_user_s_alone(short_folder: Path) -> None:
    folder = session_folder()
    assert folder is not None
    assert folder.parent.parent == short_folder
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert session_folder() == folder
    folder.parent.chmod(0o777)
    assert session_folder() is None
    folder.parent.rmdir()
    folder.parent.symlink_to(short_folder)
    assert session_folder() is None


def processes(session: int) -> list[str]:
    """Command lines of what still runs of a session of processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((path / "cmdline").read_text(errors="replace").replace("\0", " "))
        except (OSError, IndexError):
            continue
    return found


def below(driver: int) -> list[int]:
    """Numbers of the processes of Ray that a driver started."""
    children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    return [int(pid) for pid in children if b"/ray/" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def blocks_sigterm(pid: int) -> bool:
    """True where the main thread of a process has SIGTERM blocked."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    blocked = next(line for line in lines if line.startswith("SigBlk"))
    return bool(int(blocked.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_sigterm_ends_a_session_in_order(short_folder: Path) -> None:
    """Left to Ray, it ends in the log of a crash, with an exit code of its own."""
    environment = {**subprocess_environment(), "RAY_AUTH_MODE": "token"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _ENDED], env=environment, stdout=pipe, stderr=pipe, text=True
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "up\n", driver.communicate()
        started = below(driver.pid)
        assert started
        assert not any(map(blocks_sigterm, started)), "what is blocked while Ray starts is not for its processes"
        driver.send_signal(signal.SIGTERM)
        output, messages = driver.communicate(timeout=120)
    assert (driver.returncode, output, messages) == (143, "ended by SIGTERM\n", "")


_AFTERWARDS = """
import os, signal
from ast_ray.config import ComputeConfig
from ast_ray.ray_backend.session import ray_session
from ast_ray.signals import Ended, exit_code, listen

listen()
with ray_session(ComputeConfig(workers=1)):
    pass
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
except Ended as error:
    print("ended by", error, flush=True)
    raise SystemExit(exit_code(error))
"""


@pytest.mark.ray
def test_a_session_that_is_over_leaves_sigterm_to_us(short_folder: Path) -> None:
    """Ray's end resets the handler below Python: a SIGTERM while results are shown would end the process at once."""
    command, environment = [sys.executable, "-c", _AFTERWARDS], {**subprocess_environment(), "RAY_AUTH_MODE": "token"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout) == (143, "ended by SIGTERM\n"), found.stderr


_ONCE_CONNECTED = """
import os, signal
from ray._private import worker

real = worker.connect

def struck(*args, **options):
    real(*args, **options)
    os.kill(os.getpid(), signal.SIGTERM)

worker.connect = struck
"""


@pytest.mark.ray
def test_sigterm_once_ray_is_connected_ends_the_start_in_order(short_folder: Path) -> None:
    """Once its core worker is made, Ray has a handler below Python, which ends the process with the log of a crash."""
    environment = {**subprocess_environment(), "RAY_AUTH_MODE": "token"}
    command = [sys.executable, "-c", _ONCE_CONNECTED + _ENDED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (143, "ended by SIGTERM\n", "")


_WHILE_CONNECTING = """
import os, signal, time
from ray import _raylet

real = _raylet.CoreWorker

def struck(*args, **options):
    if os.fork() == 0:
        driver = os.getppid()
        while not trapped(driver):  # Ray's handlers below Python take SIGTRAP as well
            time.sleep(0.001)
        os.kill(driver, signal.SIGTERM)
        os._exit(0)
    return real(*args, **options)

def trapped(driver):
    with open(f"/proc/{driver}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) >> (signal.SIGTRAP - 1) & 1

_raylet.CoreWorker = struck
"""


@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_sigterm_while_ray_makes_its_core_worker_is_not_for_its_handler(short_folder: Path) -> None:
    """Its handler writes the log of a crash and, three seconds later, ends the process with a code of its own."""
    environment = {**subprocess_environment(), "RAY_AUTH_MODE": "token"}
    command = [sys.executable, "-c", _WHILE_CONNECTING + _ENDED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (143, "ended by SIGTERM\n", "")


@pytest.mark.ray
@pytest.mark.slow
def test_nothing_of_ray_outlives_a_killed_driver_by_ten_seconds(short_folder: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    command, environment = [sys.executable, "-c", _DRIVER], {**subprocess_environment(), "RAY_AUTH_MODE": "token"}
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "1\n"
        assert any("DashboardAgent" in line for line in processes(driver.pid))
        groups = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2] for pid in below(driver.pid)]
        assert str(driver.pid) not in groups, "a signal to the driver's group is no signal to its Ray"
        driver.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(driver.pid) == []
