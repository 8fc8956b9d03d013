"""The whole process killed or interrupted, then the same command again."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result

from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.telemetry.metrics import read_metrics
from tests import documents
from tests.tiny import assert_same, serial_run

Start = Callable[[Sequence[str]], "subprocess.Popen[str]"]
Words = Callable[..., list[str]]
Call = Callable[..., Result]

# Long enough to be met in the middle, whatever the machine: work is ended by the signal, not by a clock.
LONG = {
    "expert__epochs": 40,
    "expert__count": 2,
    "distill__iterations": 1500,  # some seconds: a signal has to find it running
    "distill__log_every": 50,
    "distill__validate_every": 750,
    "run__methods": "ast",
    "run__baselines": "random",
}


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is there; fail when the process ends first."""
    for _ in range(6000):
        if found():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("nothing happened within a minute")


@pytest.fixture(scope="module")
def undisturbed(tiny: Callable[..., object], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return serial_run(tiny(**LONG), tmp_path_factory.mktemp("undisturbed"))  # type: ignore[arg-type]


def test_killed_in_an_expert_and_in_the_distillation_then_the_same_command(
    words: Words, start: Start, call: Call, undisturbed: Plan, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    command = ["run", *words(**LONG), "--out", str(run.path)]

    process = start(command)
    wait_for(lambda: list(run.experts.glob("*/.partial-*.parquet")), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    finished = sorted(run.experts.glob("*/expert-*.parquet"))
    assert len(finished) < 2
    stamps = [file.stat().st_mtime_ns for file in finished]
    info = call("info", str(run.path))
    assert info.exit_code == 0
    assert "ast: not started" in info.stdout

    process = start(command)
    wait_for(run.method("ast").checkpoint.exists, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not run.method("ast").outcome.exists()
    assert [file.stat().st_mtime_ns for file in finished] == stamps
    info = call("info", str(run.path))
    assert "iteration" in info.stdout
    assert "not finished" in info.stdout

    result = call(*command)
    assert result.exit_code == 0, result.stderr
    assert_same(run.path, undisturbed.directory.path)
    iterations = [row["iteration"] for row in read_metrics(run.method("ast").metrics)]
    assert iterations == [1, *range(50, 1501, 50)]
    mine, theirs = (documents.content(place.results) for place in (run, undisturbed.directory))
    assert mine == theirs


def test_ctrl_c_says_how_to_go_on(words: Words, start: Start, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a folder")
    process = start(["run", *words(**LONG), "--out", str(run.path)])
    wait_for(run.method("ast").checkpoint.exists, process)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "Traceback" not in messages
    assert "interrupted; what finished is kept. Go on with:" in messages
    resume = messages.strip().splitlines()[-1].strip()
    assert resume.startswith("ast-ray run --preset digits")
    assert resume.endswith(f"--out '{run.path}'")
    assert not run.results.exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_ends_the_run_says_how_to_go_on(
    words: Words, start: Start, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    run = RunDirectory(tmp_path / "run")
    process = start(["run", *words(**LONG), "--out", str(run.path), "--json"])
    wait_for(run.method("ast").checkpoint.exists, process)
    process.send_signal(sent)
    output, messages = process.communicate(timeout=60)
    assert process.returncode == code, messages
    assert "Traceback" not in messages
    told = f"ended by {sent.name}; what finished is kept. Go on with:"
    assert told in messages
    error = json.loads(output)["error"]
    assert error["type"] == "Interrupted"
    assert error["message"].startswith(told)
    assert not (run.path / ".lock").exists()
    assert not list(run.path.rglob(".partial-*"))


def test_a_signal_while_the_program_loads(start: Start, tmp_path: Path) -> None:
    """Whenever it comes, nothing but a word and the code: no traceback, no half of anything."""
    for delay in (0.1, 0.4, 0.8, 1.5):
        process = start(["run", "--preset", "digits", "--backend", "serial", "--out", str(tmp_path / "run")])
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=60)
        before_python = process.returncode == -signal.SIGTERM and not messages
        assert before_python or process.returncode == 143, messages
        assert "Traceback" not in messages


@pytest.mark.ray
def test_ctrl_c_with_ray_and_json(words: Words, start: Start, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    options = {**LONG, "compute__backend": "ray", "compute__workers": 1, "distill__iterations": 100000}
    process = start(["run", *words(**options), "--out", str(run.path), "--json"])
    wait_for(lambda: list(run.experts.glob("*/.partial-*.parquet")), process)
    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=120)
    assert process.returncode == 130, messages
    assert json.loads(output)["error"]["type"] == "Interrupted"
    assert "Go on with:" in messages
    assert "Traceback" not in messages
