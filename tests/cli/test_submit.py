from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ast_ray.cli.submit import check_command, notes, sent, with_address
from ast_ray.errors import ConfigError, ResourceError
from ast_ray.ray_backend import jobs
from tests.cli.conftest import Call
from tests.ray_backend.cluster_head import free_ports


class Job:
    """A job as Ray's client shows it: chunks of log, a connection that may break, an end."""

    def __init__(self, chunks: list[str], *, status: str = "SUCCEEDED", code: int | None = 0, breaks: int = 0) -> None:
        self.chunks, self.status, self.code, self.breaks = chunks, status, code, breaks
        self.submitted: dict[str, Any] = {}

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        for number, chunk in enumerate(self.chunks):
            if number == 1 and self.breaks:
                self.breaks -= 1
                raise RuntimeError("WebSocket connection closed unexpectedly")
            yield chunk

    def get_job_info(self, name: str) -> Any:
        if name == "other":
            raise RuntimeError("Request failed with status code 404: no such job.")
        return SimpleNamespace(status=SimpleNamespace(value=self.status), driver_exit_code=self.code, message=None)

    def submit_job(self, **given: Any) -> str:
        self.submitted = given
        return str(given["submission_id"])

    def stop_job(self, name: str) -> bool:
        return self.status == "RUNNING"


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    found = Job(["one\n", "two\n"])
    monkeypatch.setattr(jobs, "connect", lambda address: found)
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.0)
    return found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runn", "--preset", "digits"], "did you mean 'run'"),
        (["submit", "run"], "not a command for a cluster"),
        (["run", "--prset", "digits"], "did you mean '--preset'"),
        (["run", "--rho", "much"], "distill.rho = 'much'"),
    ],
)
def test_a_bad_command_is_refused_here(words: list[str], message: str, call: Call) -> None:
    found = call("submit", *words)
    assert found.exit_code == 2
    assert message in found.stderr


def test_a_command_or_a_job(call: Call) -> None:
    for words in ((), ("--resume", "a", "run"), ("--resume", "a", "--stop", "b")):
        assert "give a command to run" in call("submit", *words).stderr


@pytest.mark.parametrize("words", [["run", "--preset", "digits"], ["presets", "list"], ["report", "/shared/run"]])
def test_good_commands(words: list[str]) -> None:
    check_command(words)


def test_where_nobody_answers(call: Call) -> None:
    found = call("submit", "--address", f"http://127.0.0.1:{free_ports(1)[0]}", "--resume", "any")
    assert found.exit_code == 1
    assert "no cluster answers" in found.stderr
    assert "ray dashboard" in found.stderr
    found = call("submit", "--address", "auto", "--resume", "any")
    assert found.exit_code == 2
    assert "http://127.0.0.1:8265" in found.stderr


def test_files_go_along_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    for name in ("mine.yaml", "space.py"):
        (tmp_path / "here" / name).write_text(name, "utf-8")
    here = tmp_path / "here"
    words = ["tune", f"--space={here / 'space.py'}", "--config", str(here / "mine.yaml"), "--out", "/shared/s"]
    found = sent(words, tmp_path / "there")
    assert found == ["tune", "--space=space.py", "--config", "mine.yaml", "--out", "/shared/s"]
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["mine.yaml", "space.py"]
    assert sent(["tune", "--space", "ast_core"], tmp_path / "there") == ["tune", "--space", "ast_core"]
    with pytest.raises(ConfigError, match="no such file"):
        sent(["run", "--config", "nowhere.yaml"], tmp_path / "there")


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["run", "--preset", "digits"], ["--address", "auto"]),
        (["tune", "--space", "smoke"], ["--address", "auto"]),
        (["run", "--address", "10.0.0.1:6379"], []),
        (["run", "--compute.address=10.0.0.1:6379"], []),
        (["run", "--backend", "serial"], []),
        (["report", "/shared/run"], []),
    ],
)
def test_the_job_joins_its_own_cluster(words: list[str], added: list[str]) -> None:
    assert with_address(words) == [*words, *added]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--out", "s3://bucket/run"], ""),
        (["run", "--out=/shared/run"], "note: /shared/run has to be"),
        (["run", "--out", "runs/mine"], "warning: runs/mine is relative"),
        (["tune"], "warning: runs/... is relative"),
        (["report", "/shared/run"], ""),
    ],
)
def test_where_results_will_lie(words: list[str], says: str) -> None:
    assert "".join(notes(words)).startswith(says)
    assert bool(notes(words)) == bool(says)


def test_a_job_is_followed_to_its_exit_code(job: Job, call: Call) -> None:
    job.status, job.code = "FAILED", 3
    found = call("submit", "run", "--preset", "digits", "--out", "/shared/run")
    assert found.exit_code == 3
    assert found.stdout == "one\ntwo\n"
    assert "failed, exit code 3" in found.stderr
    words = "python -m ast_ray run --preset digits --out /shared/run --address auto"
    assert job.submitted["entrypoint"] == words
    assert "working_dir" not in job.submitted["runtime_env"]


def test_a_broken_connection_is_taken_up_without_repeating_a_line(job: Job, call: Call) -> None:
    job.breaks = 2
    found = call("submit", "--resume", "mine")
    assert found.exit_code == 0
    assert found.stdout == "one\ntwo\n"


def test_a_cluster_that_stays_away(job: Job, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PATIENCE_SECONDS", -1.0)
    job.breaks = 99
    found = call("submit", "--resume", "mine")
    assert found.exit_code == 1
    assert "the job may well run on" in found.stderr


def test_ctrl_c_leaves_the_job_running(job: Job, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "follow", interrupted)
    found = call("submit", "--address", "http://10.0.0.1:8265", "--resume", "mine")
    assert found.exit_code == 130
    assert "ast-ray submit --address http://10.0.0.1:8265 --resume mine" in found.stderr
    assert "ast-ray submit --address http://10.0.0.1:8265 --stop mine" in found.stderr


def test_detached(job: Job, call: Call) -> None:
    found = call("submit", "--detach", "report", "/shared/run")
    assert found.exit_code == 0
    assert found.stdout.strip() == job.submitted["submission_id"]


def test_stopping(job: Job, call: Call) -> None:
    assert "was not running" in call("submit", "--stop", "mine").stderr
    job.status = "RUNNING"
    assert "asked to stop" in call("submit", "--stop", "mine").stderr


def test_no_such_job(job: Job) -> None:
    with pytest.raises(ResourceError, match="no job 'other'"):
        jobs.follow(job, "other", print, address="http://127.0.0.1:8265")


def test_ended_without_an_exit_code(job: Job) -> None:
    job.status, job.code = "STOPPED", None
    assert jobs.outcome(job, "mine", address="http://127.0.0.1:8265").exit_code == 130
