"""cluster/onprem.yaml, really launched: up, a search as a job through the forwarded dashboard, its result, down.

The file is the shipped one with its "yours" filled in: hosts, user, key, and ssh_proxy_command for the port.
One thing is substituted: the setup commands that install Python and the package put this interpreter on the PATH
instead, which has both. `ray up` and `ray down` run `ray stop`, which ends every Ray of the machine: this test is the
very last one, and skips where another Ray runs.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.ssh_host import Host, interpreter_folder, missing, ssh_host
from tests.ray_backend.cluster_head import SUBMIT, free_ports
from tests.tiny import arguments, subprocess_environment

ROOT = Path(__file__).parents[2]
TOOLS = interpreter_folder()


def other_rays() -> list[str]:
    """Processes of other Rays of this machine, which `ray stop` would end."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith((b"gcs/gcs_server", b"raylet/raylet")):
            found.append(folder.name)
    return found


def end_own_ray() -> None:
    """Shut down the Ray that earlier tests of this session share; nobody comes after this one."""
    if "ray" not in sys.modules:
        return
    import ray

    ray.shutdown()
    until = time.monotonic() + 20
    while other_rays() and time.monotonic() < until:
        time.sleep(0.5)


def filled_in(host: Host, built: Path) -> dict[str, Any]:
    """The shipped file with its values; see the module."""
    config = dict(yaml.safe_load((ROOT / "cluster/onprem.yaml").read_text("utf-8")))
    config["provider"] |= {"head_ip": "127.0.0.1", "worker_ips": []}
    config["auth"] = {"ssh_user": getpass.getuser(), "ssh_private_key": str(host.key)}
    config["auth"]["ssh_proxy_command"] = host.proxy
    config["file_mounts"]["~/ast-ray"] = str(built)
    kept = [line for line in config["setup_commands"] if "ast-ray-env" not in line]
    assert len(kept) == 1  # chmod of the token
    config["setup_commands"] = [*kept, f"grep -q {TOOLS} ~/.bashrc || echo 'export PATH={TOOLS}:$PATH' >> ~/.bashrc"]
    return config


def ray_command(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [f"{TOOLS}/ray", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def forwarded(environment: dict[str, str], file: Path) -> Iterator[str]:
    """`ray dashboard` on a port of its own; yields the address."""
    (port,) = free_ports(1)
    command = [f"{TOOLS}/ray", "dashboard", str(file), "--port", str(port)]
    with (file.parent / "dashboard.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (file.parent / "dashboard.log").read_text("utf-8")
                assert time.monotonic() < until
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=10)


@pytest.mark.alone
@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_up_submit_down(tmp_path: Path) -> None:
    end_own_ray()
    if other_rays():
        pytest.skip("another Ray runs on this machine, and `ray up` would end it")
    built, home, out = tmp_path / "built", tmp_path / "mine", tmp_path / "run"
    built.mkdir()
    (built / "constraints.txt").write_text("", "utf-8")
    (home / ".ray").mkdir(parents=True)
    (home / ".ray/auth_token").write_text("c" * 32, "utf-8")
    clean = {name: value for name, value in subprocess_environment().items() if not name.startswith("RAY_")}
    mine = {**clean, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "200"}
    with ssh_host(tmp_path, {"PYTHONPATH": clean["PYTHONPATH"], "OMP_NUM_THREADS": "1"}) as host:
        file = tmp_path / "onprem.yaml"
        file.write_text(yaml.safe_dump(filled_in(host, built)), "utf-8")
        ray_command(mine, "up", "-y", str(file))
        try:
            assert (host.home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
            assert other_rays()
            with forwarded(mine, file) as address:
                few = {"run.methods": "ast", "run.baselines": "random", "compute.backend": "ray"}
                words = ["run", *arguments(tmp_path / "data", few), "--out", str(out)]
                job = subprocess.run(
                    [*SUBMIT, "--address", address, *words], env=mine, capture_output=True, text=True, timeout=150
                )
                assert job.returncode == 0, job.stdout + job.stderr
        finally:
            said = ray_command(mine, "down", "-y", str(file))
    assert "Stopped all" in said
    assert not other_rays()
    rows = json.loads((out / "results.json").read_text("utf-8"))["rows"]
    assert {row["set"] for row in rows} == {"random", "ast"}
    assert json.loads((out / "manifest.json").read_text("utf-8"))["commands"][0]["command"][-2:] == [
        "--address",
        "auto",
    ]
    assert "c" * 32 not in "".join(path.read_text("utf-8", "ignore") for path in out.rglob("*.json"))
