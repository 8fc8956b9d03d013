from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ast_ray.config import ComputeConfig
from ast_ray.errors import ConfigError, ResourceError
from ast_ray.ray_backend import reach
from ast_ray.ray_backend.jobs import connect
from ast_ray.ray_backend.reach import require_cluster, require_folder, require_room

Answering = Callable[[bytes], int]
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Listen on loopback and answer the first connection with some bytes; none leaves it open in silence."""
    opened: list[socket.socket] = []

    def listen(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        opened.append(server)

        def serve() -> None:
            connection, _ = server.accept()
            opened.append(connection)
            connection.recv(100)
            connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    yield listen
    for one in opened:
        one.close()


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_what_answers_as_grpc_does_is_let_through(answering: Answering) -> None:
    require_cluster(f"127.0.0.1:{answering(SETTINGS)}")
    require_cluster(f"ray://127.0.0.1:{answering(SETTINGS)}")
    require_cluster("auto")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_refused_connection_is_told_at_once(closed_port: int, scheme: str) -> None:
    with pytest.raises(ResourceError, match=r"no Ray cluster answers \(Connection refused\)"):
        require_cluster(f"{scheme}127.0.0.1:{closed_port}")


def test_silence_is_told_after_some_seconds(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SECONDS", 0.2)
    with pytest.raises(ResourceError, match=r"no Ray cluster answers within 0\.2 seconds"):
        require_cluster(f"127.0.0.1:{answering(b'')}")


def test_another_server_is_told(answering: Answering) -> None:
    with pytest.raises(ResourceError, match="what listens there is not Ray"):
        require_cluster(f"127.0.0.1:{answering(b'HTTP/1.1 400 Bad Request')}")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "http://127.0.0.1:8265", ":6379", "a b:6379", "x:y"]
)
def test_what_is_no_address_of_a_cluster(address: str) -> None:
    with pytest.raises(ConfigError, match=r"expected auto, host:port"):
        require_cluster(address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1"])
def test_a_bad_port_of_a_dashboard(address: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        connect(address)


def test_more_per_task_than_this_machine_has() -> None:
    require_room(ComputeConfig(cpus_per_task=0.5, gpus_per_task=0.5), 1)
    with pytest.raises(ConfigError) as caught:
        require_room(ComputeConfig(cpus_per_task=1000, gpus_per_task=2), 1)
    assert [problem.setting for problem in caught.value.problems] == ["compute.cpus_per_task", "compute.gpus_per_task"]
    assert "this machine has 1 GPU;" in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "told"),
    [("relative", "absolute"), ("/" + "x" * 60, "too long"), ("/proc/none", "cannot be made"), ("FILE", "cannot be")],
)
def test_a_folder_that_ray_cannot_use(folder: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path("/tmp") / f"ast-ray-test-{os.getpid()}"
    file.write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(file) if folder == "FILE" else folder)
    with pytest.raises(ResourceError, match=rf"RAY_TMPDIR = .*{told}"):
        require_folder()
    file.unlink()


def test_the_usual_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    require_folder()
