"""A Ray head of its own with a dashboard: own ports, own home folder, own token; ended with all it has started."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.tiny import subprocess_environment

_START_SECONDS = 60.0
SUBMIT = (sys.executable, "-c", "from ast_ray.cli.submit import submit; submit()")
"""The command without the others, which take seconds to import."""


@dataclass(frozen=True)
class Head:
    """Addresses of the dashboard and for drivers, and the environment of a client with the right token."""

    address: str
    environment: dict[str, str]
    home: Path
    joined_at: str

    def submit(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run ``ast-ray submit WORDS`` as its own process; ``changes`` in its environment, empty ones left out."""
        environment = {name: value for name, value in {**self.environment, **changes}.items() if value}
        return subprocess.run([*SUBMIT, *words], env=environment, capture_output=True, text=True, timeout=120)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, outside the range that Ray gives its workers (10002 to 19999)."""
    sockets = [socket.socket() for _ in range(4 * count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return [port for port in ports if not 10002 <= port <= 19999][:count]


@contextmanager
def running_head(home: Path, *, cpus: int = 2, variables: Mapping[str, str] = MappingProxyType({})) -> Iterator[Head]:
    """Start a head, with ``variables`` in its environment, and wait until its dashboard answers."""
    gcs, dashboard, client, agent = free_ports(4)
    clean = {name: value for name, value in subprocess_environment().items() if not name.startswith("RAY_")}
    tools = str(Path(sys.executable).parent)
    environment = {
        **clean,
        "HOME": str(home),
        "PATH": f"{tools}{os.pathsep}{clean.get('PATH', '')}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a" * 32,
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [f"{tools}/ray", "start", "--head", "--block", "--disable-usage-stats", f"--num-cpus={cpus}"]
        command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        command += [f"--dashboard-agent-listen-port={agent}", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}"]
        command += [f"--object-store-memory={100 * 2**20}"]
        with (home / "head.log").open("w") as log:
            its_own = {**environment, **variables}
            process = subprocess.Popen(command, env=its_own, stdout=log, stderr=log, start_new_session=True)
        try:
            head = Head(environment["RAY_API_SERVER_ADDRESS"], environment, home, f"127.0.0.1:{gcs}")
            _wait(head, process)
            yield head
        finally:
            started = _below(process.pid) if process.poll() is None else []
            process.terminate()
            try:
                process.wait(timeout=20)
            finally:
                _kill_group(process.pid)
                for one in started:  # a job that a failed test left: it would run on and slow all that come after
                    if one.is_running():
                        one.kill()


def _wait(head: Head, process: subprocess.Popen[bytes]) -> None:
    request = urllib.request.Request(
        f"{head.address}/api/version", headers={"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"}
    )
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(request, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, (head.home / "head.log").read_text("utf-8")
            assert time.monotonic() < until, "the head's dashboard does not answer"
            time.sleep(0.2)


def _below(parent: int) -> list[Any]:
    """Processes started by one and by those it started; jobs have process groups of their own."""
    import ray  # noqa: F401 - brings psutil along

    psutil = importlib.import_module("psutil")
    found: list[Any] = psutil.Process(parent).children(recursive=True)
    return found


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
