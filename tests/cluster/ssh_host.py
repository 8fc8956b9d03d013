"""An SSH server on loopback that stands for a machine of a cluster: own port, own keys, own home folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ray_backend.cluster_head import free_ports

NEEDED = ("sshd", "ssh", "ssh-keygen", "rsync", "nc")
_PLACES = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", os.environ.get("PATH", "")))

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
MaxSessions 50
ForceCommand {folder}/login
"""
# What a login finds: the home folder and a PATH, nothing of the environment the test runs in.
_LOGIN = """\
#!/bin/sh
export HOME={home} PATH=/usr/local/bin:/usr/bin:/bin{more}
cd "$HOME"
exec /bin/bash -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(frozen=True)
class Host:
    """How to log in, and where the login finds itself."""

    port: int
    key: Path
    home: Path

    @property
    def proxy(self) -> str:
        """The launch file's ``ssh_proxy_command``; it has no key for a port."""
        return f"nc 127.0.0.1 {self.port}"


def missing() -> list[str]:
    """The programs of `NEEDED` that are not installed."""
    return [name for name in NEEDED if shutil.which(name, path=_PLACES) is None]


@contextmanager
def ssh_host(folder: Path, environment: dict[str, str]) -> Iterator[Host]:
    """Run sshd for the length of the block; ``environment`` is added to every login."""
    (port,) = free_ports(1)
    host = Host(port, folder / "key", folder / "home")
    host.home.mkdir()
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    more = "".join(f" {name}={value}" for name, value in environment.items())
    (folder / "login").write_text(_LOGIN.format(home=host.home, more=more), "utf-8")
    (folder / "login").chmod(0o755)
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder), "utf-8")
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own, where it was never started
    program = shutil.which("sshd", path=_PLACES)
    assert program is not None
    with (folder / "sshd.log").open("w") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "config")], stdout=log, stderr=log)
    try:
        _wait(port, server, folder / "sshd.log")
        yield host
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < until
            time.sleep(0.1)


def interpreter_folder() -> str:
    """The folder of this Python, its Ray and its ast-ray."""
    return str(Path(sys.executable).parent)
