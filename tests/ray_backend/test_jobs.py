from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ast_ray.errors import ResourceError
from ast_ray.ray_backend import jobs
from tests import documents
from tests.ray_backend.cluster_head import SUBMIT, Head, running_head
from tests.tiny import SETTINGS, arguments


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("head")) as found:
        yield found


@pytest.mark.ray
def test_tokens(head: Head) -> None:
    unset = head.submit("--resume", "any", RAY_AUTH_MODE="", RAY_AUTH_TOKEN="")
    assert unset.returncode == 1
    assert "export RAY_AUTH_MODE=token" in unset.stderr
    wrong = head.submit("--resume", "any", RAY_AUTH_TOKEN="b" * 32)
    assert wrong.returncode == 1
    assert "refuses the token" in wrong.stderr
    assert "b" * 32 not in wrong.stderr + wrong.stdout


@pytest.mark.ray
def test_a_run_with_its_file_sent_along(head: Head, tmp_path: Path) -> None:
    values: dict[str, dict[str, str]] = {}
    changes = {"data.root": str(tmp_path / "data"), "run.methods": "ast", "run.baselines": "random"}
    for path, value in {**SETTINGS, **changes}.items():
        if path == "compute.backend":
            continue  # told on the command line, so that no address is added
        section, _, leaf = path.partition(".")
        values.setdefault(section, {})[leaf] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values), "utf-8")
    out = tmp_path / "run"
    words = ["run", "--preset", "digits", "--config", str(tmp_path / "mine.yaml"), "--backend", "serial"]
    found = head.submit(*words, "--out", str(out))
    assert found.returncode == 0, found.stdout + found.stderr
    assert documents.content(out / "results.json")["rows"]
    assert f"run directory: {out}" in found.stdout
    assert "packaging" not in found.stderr
    assert "all machines of the cluster see" in found.stderr


@pytest.mark.ray
def test_leave_come_back_and_stop(head: Head, tmp_path: Path) -> None:
    long = {"data.root": tmp_path / "data", "distill.iterations": 100000, "run.methods": "ast"}
    words = ["distill", *arguments(tmp_path, long), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*SUBMIT, *words],
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(2)]
    name = lines[-1].removeprefix("job ").strip()
    assert process.stdout is not None
    assert process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"--resume {name}" in said
    assert f"--stop {name}" in said

    until = time.monotonic() + 60
    while not (tmp_path / "run/manifest.json").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    stopped = head.submit("--stop", name)
    assert stopped.returncode == 0, stopped.stderr
    again = head.submit("--resume", name)
    assert again.returncode == 130
    assert "stopped" in again.stderr
    assert "interrupted; what finished is kept" in again.stdout


class Starting:
    """A client of a head whose agent comes up after some requests."""

    def __init__(
        self, refusals: int, text: str = "500: No available agent to submit job, please try again later.."
    ) -> None:
        self.asked, self._refusals, self._text = 0, refusals, text

    def submit_job(self, *, submission_id: str, **_: object) -> str:
        self.asked += 1
        if self.asked <= self._refusals:
            raise RuntimeError(self._text)
        return submission_id


def test_a_head_whose_agent_is_not_up_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.0)
    client = Starting(3)
    assert jobs.submit(client, ["run"], address="head").startswith("ast-ray-run-")
    assert client.asked == 4
    other = Starting(1, "400: no such directory")
    with pytest.raises(ResourceError, match="head: 400: no such directory"):
        jobs.submit(other, ["run"], address="head")
    monkeypatch.setattr(jobs, "_PATIENCE_SECONDS", 0.0)
    with pytest.raises(ResourceError, match="No available agent"):
        jobs.submit(Starting(10**9), ["run"], address="head")
