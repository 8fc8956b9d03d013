"""What a local run opens to the network: nothing beyond loopback."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ast_ray.cli.tensorboard import _start
from ast_ray.ray_backend.session import keep_token_private, loopback_only, offered
from tests.tiny import subprocess_environment

_SESSION = """
import json
from ast_ray.config import ComputeConfig
from ast_ray.ray_backend.session import ray_session

with ray_session(ComputeConfig(device="cpu", workers=1)):
    import ray
    import psutil  # comes with ray

    ray.get(ray.remote(lambda: None).remote())  # one worker process
    me = psutil.Process()
    found = {
        f"{process.name()} {place.laddr.ip} {place.laddr.port}"
        for process in (me, *me.children(recursive=True))
        for place in process.net_connections(kind="inet")
        if place.status == "LISTEN"
    }
print(json.dumps(sorted(found)))
"""


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address; an IPv4 address may be written as an IPv6 one."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


@pytest.mark.ray
def test_a_local_session_listens_on_loopback_only(tmp_path: Path) -> None:
    kept = {name: value for name, value in subprocess_environment().items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {**kept, "HOME": str(tmp_path), "RAY_TMPDIR": folder}
        done = subprocess.run([sys.executable, "-c", _SESSION], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 5, found  # the driver, its servers, a worker
    assert not [line for line in found if not is_loopback(line.split()[-2])]
    token = tmp_path / ".ray/auth_token"
    assert token.stat().st_mode & 0o777 == 0o600


def test_loopback_is_told_from_everything() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1")))


@pytest.mark.ray
def test_the_switch_is_set_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    with loopback_only():
        assert ray_constants.ENABLE_RAY_CLUSTER is False
    assert ray_constants.ENABLE_RAY_CLUSTER is before
    monkeypatch.delattr(ray_constants, "ENABLE_RAY_CLUSTER")
    with loopback_only():
        assert "open to the network" in caplog.text


def test_a_token_readable_by_all_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_token_private()  # none there
    token = tmp_path / ".ray/auth_token"
    token.parent.mkdir()
    token.write_text("secret", "utf-8")
    token.chmod(0o644)
    keep_token_private()
    assert token.stat().st_mode & 0o777 == 0o600


def test_an_autoscaler_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.state import state

    monkeypatch.setattr(state, "get_max_resources_from_cluster_config", lambda: {"CPU": 64, "GPU": 8})
    assert offered({"node:10.0.0.1": 1.0, "CPU": 0.0}) == {"node:10.0.0.1": 1.0, "CPU": 64.0, "GPU": 8.0}
    monkeypatch.setattr(state, "get_max_resources_from_cluster_config", lambda: None)
    assert offered({"CPU": 2.0}) == {"CPU": 2.0}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's vendored packages
def test_tensorboard_listens_on_loopback_only(tmp_path: Path) -> None:
    assert _start(tmp_path, 0).startswith("http://127.0.0.1:")
