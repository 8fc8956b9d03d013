"""A command that ends while its Ray starts: the right code, no trace, and nothing of that Ray is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from ast_ray.config import ComputeConfig
from ast_ray.errors import ResourceError
from ast_ray.ray_backend import session
from ast_ray.ray_backend.private_ray import watched
from ast_ray.ray_backend.session import ray_session
from tests.failure.notes import until
from tests.ray_backend.test_private_ray import processes
from tests.tiny import arguments, subprocess_environment

pytestmark = [
    pytest.mark.failure,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc"),
]

# The command, with a Ray whose processes are all there while its start does not come to an end.
_HELD = """
import time
from ray._private import worker
from ast_ray.__main__ import run

worker.connect = lambda *_, **__: time.sleep(600)
run()
"""
_AGENTS = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Sockets have short names only."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_nothing_of_a_ray_that_was_starting_outlives_its_driver(
    sent: signal.Signals, code: int, short_folder: Path, root: Path
) -> None:
    words = arguments(root, {"compute.backend": "ray", "compute.workers": 1, "run.methods": "ast"})
    environment = {**subprocess_environment(), "RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(short_folder)}
    with (short_folder / "messages").open("w+", encoding="utf-8") as messages:
        driver = subprocess.Popen(
            [sys.executable, "-c", _HELD, "run", *words, "--out", str(short_folder / "run")],
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        try:
            until(lambda: {line.strip() for line in processes(driver.pid)} >= _AGENTS)
            driver.send_signal(sent)
            assert driver.wait(120) == code
            deadline = time.monotonic() + 10
            while processes(driver.pid) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert processes(driver.pid) == []
        finally:
            driver.kill()
        messages.seek(0)
        text = messages.read()
    assert "Traceback" not in text
    assert ("Go on with:" in text) == (sent != signal.SIGKILL)


NOBODY = 2**22 + 1  # no process has this number: this one's Ray is that of the other tests


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process that does nothing, with a log of a session of `NOBODY` as its output or input."""
    (tmp_path / "ray").mkdir()
    log = tmp_path / f"session_2026-01-01_00-00-00_000000_{NOBODY}" / "logs" / "some.log"
    log.parent.mkdir(parents=True)
    log.touch()
    started = []

    def start(folder: str, *, writes: bool) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "import time; time.sleep(600)", str(tmp_path / folder / "x.py")]
        with log.open("ab") as output, log.open("rb") as source:
            stream = {"stdout": output} if writes else {"stdin": source, "stdout": subprocess.DEVNULL}
            started.append(subprocess.Popen(command, **stream))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_what_is_ended_is_ray_s_and_writes_this_session_s_logs(
    sleeper: Callable[..., subprocess.Popen[bytes]],
) -> None:
    with watched(NOBODY):
        left = sleeper("ray", writes=True)
        reads, other = sleeper("ray", writes=False), sleeper("somebody", writes=True)
    assert left.wait(10) == -signal.SIGKILL
    assert reads.poll() is None
    assert other.poll() is None


def test_a_ray_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, short_folder: Path) -> None:
    """As where the machine is so busy that Ray gives up after half a minute."""
    import ray

    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore.")

    monkeypatch.setenv("RAY_TMPDIR", str(short_folder))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # the one of other tests
    monkeypatch.setattr(session, "watched", nullcontext)
    with pytest.raises(ResourceError, match=r"did not start .*timed out during startup.*the same command"):
        ray_session(ComputeConfig(device="cpu")).__enter__()
