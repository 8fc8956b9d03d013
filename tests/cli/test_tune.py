from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ast_ray.cli.main import main
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.record import read_records
from tests.tiny import arguments, subprocess_environment

SPACE = '''"""Mine."""
from ray import tune

param_space = {"rho": tune.uniform(0.0, 0.1), "expert.penalty_weight": tune.choice([0.0, 0.1])}
settings = {"tune.scheduler": "fifo", "tune.final_configs": 1, "tune.final_seeds": 1}
'''


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command sets variables for Ray; leave none behind."""
    for name in ("RAY_AIR_NEW_OUTPUT", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "RAY_CHDIR_TO_TRIAL_DIR"):
        monkeypatch.setenv(name, "0")
    return


def refused(tmp_path: Path, space: str, *words: str) -> Result:
    """Run the command on a broken space; it has to end with code 2, Ray not started and nothing written."""
    import ray

    path, out = tmp_path / "mine.py", tmp_path / "out"
    path.write_text(space, encoding="utf-8")
    before = ray.is_initialized()
    options = [*arguments(tmp_path, {"compute.backend": "ray"}), "--space", str(path), "--out", str(out), *words]
    result = CliRunner().invoke(main, ["tune", *options])
    assert result.exit_code == 2, result.output
    assert not out.exists()
    assert ray.is_initialized() == before
    assert "nothing was started" in result.output
    return result


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("{'distill.vartheat': tune.uniform(2, 8)}", "did you mean 'distill.vartheta'"),
        ("{'distill.syn_steps': tune.uniform(2, 8)}", "distill.syn_steps is a whole number; use tune.randint"),
        ("{'distill.init': tune.choice([1])}", "expected text"),
    ],
)
def test_an_error_in_a_space_starts_nothing(tmp_path: Path, space: str, told: str) -> None:
    result = refused(tmp_path, f"from ray import tune\nparam_space = {space}\n")
    assert told in " ".join(result.output.split())


def test_an_objective_that_does_not_exist_starts_nothing(tmp_path: Path) -> None:
    result = refused(tmp_path, SPACE, "--objective", "validation_acuracy")
    assert "did you mean 'validation_accuracy'" in " ".join(result.output.split())
    inside = SPACE + 'settings["tune.objective"] = "test_accuracy"\n'
    result = refused(tmp_path, inside)
    assert "tune.objective" in result.output


def test_a_serial_search_is_refused(tmp_path: Path) -> None:
    assert "a search runs on Ray" in refused(tmp_path, SPACE, "--backend", "serial").output


def test_resuming_needs_a_search_and_keeps_its_settings(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["tune", "--resume", str(tmp_path)])
    assert result.exit_code == 2
    assert "no search in this folder" in " ".join(result.output.split())


def test_spaces_are_listed() -> None:
    result = CliRunner().invoke(main, ["tune", "--list-spaces", "--json"])
    names = [item["name"] for item in json.loads(result.output)["spaces"]]
    assert {"ast_core", "ast_full", "smoke", "distribution_matching", "flat_trajectories"} <= set(names)
    assert names == sorted(names)


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ast_ray", "tune", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=subprocess_environment(), stdout=pipe, stderr=pipe, text=True)


def finished(search: Path) -> dict[str, bytes]:
    """Finished trials: the bytes of their records."""
    records = read_records(SearchDirectory(search).trials)
    return {item.fingerprint: item.directory.record.read_bytes() for item in records if item.status == "finished"}


def wait_for(process: subprocess.Popen[str], search: Path, count: int) -> None:
    while len(finished(search)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def settled(search: Path) -> dict[str, bytes]:
    """What is finished once the killed driver's last workers are gone too: no new record for a while."""
    kept, since = finished(search), time.monotonic()
    while time.monotonic() - since < 5:
        time.sleep(0.2)
        if len(found := finished(search)) > len(kept):
            kept, since = found, time.monotonic()
    return kept


@pytest.mark.ray
@pytest.mark.timeout(900)  # three commands, each with a Ray of its own
def test_a_search_survives_sigkill_and_ctrl_c(tmp_path: Path) -> None:
    space, out = tmp_path / "mine.py", tmp_path / "out"
    space.write_text(SPACE, encoding="utf-8")
    options = {
        "compute.backend": "ray",
        "distill.iterations": 40,
        "tune.budget": 40,
        "tune.report_every": 10,
        "tune.trials": 5,
        "evaluate.networks": 2,
    }
    first = start(*arguments(tmp_path, options), "--space", str(space), "--out", str(out))
    wait_for(first, out, 1)
    first.kill()
    first.communicate()
    kept = settled(out)

    second = start("--resume", str(out))
    wait_for(second, out, len(kept) + 1)
    second.send_signal(signal.SIGINT)
    _, messages = second.communicate()
    assert second.returncode == 130, messages
    assert f"ast-ray tune --resume {out}" in messages
    kept |= {name: text for name, text in finished(out).items() if name not in kept}

    third = start("--resume", str(out), "--json")
    output, messages = third.communicate()
    assert third.returncode == 0, messages
    results = json.loads(output)
    assert results["search"]["statuses"] == {"finished": 5}
    assert {name: finished(out)[name] for name in kept} == kept
    assert results["search"]["experts_trained"] == 4, "two buffers of two experts, each trained once"
    assert [row["n"] for row in results["final"]] == [2, 2]
    assert (out / "best.yaml").exists()


def test_what_a_space_prints_does_not_stand_beside_the_json(tmp_path: Path) -> None:
    result = refused(tmp_path, "print('loud')\nparam_space = {'distill.rhoo': 0.1}\n", "--json")
    assert "did you mean 'distill.rho'" in json.loads(result.stdout)["error"]["message"]
    assert "loud" in result.stderr
