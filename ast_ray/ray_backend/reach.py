"""A short look at what Ray needs, before it is asked to start or join: Ray itself says nothing for minutes."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from ast_ray.config.files import reason
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.errors import ConfigError, Problem, ResourceError

SECONDS = 5.0
_FOUND_BY_RAY = ("auto", "local")
_ADDRESS = re.compile(r"(?:ray://)?(\[[0-9A-Fa-f:]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")
# What a client of gRPC says first, with empty settings; every server of gRPC answers with its own settings.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_FRAME, _SETTINGS = 9, 4
_SOCKET_PATH = 107
_SESSION = "/ast-ray-00000/ray/session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"


def require_cluster(address: str) -> None:
    """Check that something answers at a cluster's address as Ray does.

    Raises:
        ConfigError: not an address of a cluster; ResourceError: nothing answers there, or nothing of Ray's.
    """
    if address in _FOUND_BY_RAY:
        return
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[2]) < 2**16:
        wanted = "expected auto, host:port (the head's, usually port 6379) or ray://host:port"
        raise ConfigError([Problem("compute.address", address, wanted)])
    host, port = found[1].strip("[]"), int(found[2])
    told = f"compute.address = {address!r}: no Ray cluster answers"
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
                return  # which only Ray's own client can speak
            connection.settimeout(SECONDS)
            connection.sendall(_PREFACE)
            answer = connection.recv(_FRAME)
    except TimeoutError:
        raise ResourceError(f"{told} within {SECONDS:g} seconds; is it up, and reachable from here?") from None
    except OSError as error:
        raise ResourceError(f"{told} ({reason(error)}); is it up, and reachable from here?") from None
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise ResourceError(f"{told}: what listens there is not Ray (the dashboard's port is for ast-ray submit)")


def require_room(compute: ComputeConfig, gpus: int) -> None:
    """Check what one task asks for against this machine, which has ``gpus`` of them, before Ray is started on it.

    Raises:
        ConfigError: more than this machine has.
    """
    cpus = os.cpu_count() or 1
    problems = []
    for name, wanted, held, kind in (
        ("cpus_per_task", compute.cpus_per_task, cpus, "CPU"),
        ("gpus_per_task", compute.gpus_per_task, gpus, "GPU"),
    ):
        if wanted > held:
            told = f"this machine has {held} {kind}{'' if held == 1 else 's'}; compute.address joins a larger cluster"
            problems.append(Problem(f"compute.{name}", wanted, told))
    if problems:
        raise ConfigError(problems)


def require_folder() -> None:
    """Check the folder that a Ray on this machine keeps its session in.

    Raises:
        ResourceError: it cannot be written, or its name is too long for sockets in it.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp")
    if not folder.is_absolute():
        raise ResourceError(f"RAY_TMPDIR = {folder}: has to be an absolute path")
    if len(os.fsencode(str(folder) + _SESSION)) > _SOCKET_PATH:
        longest = _SOCKET_PATH - len(_SESSION)
        raise ResourceError(f"RAY_TMPDIR = {folder}: too long for the sockets in it; at most {longest} bytes")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"RAY_TMPDIR = {folder}: cannot be made ({reason(error)})") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ResourceError(f"RAY_TMPDIR = {folder}: cannot be written; set RAY_TMPDIR to a folder that can")
