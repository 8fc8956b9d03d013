"""One set through the command: rows, verdicts, time limits, and what is not run twice."""

from __future__ import annotations

import dataclasses
import doctest
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_ray.errors import StoreError
from benchmarks.odd_datasets import measuring, results
from benchmarks.odd_datasets.__main__ import main
from benchmarks.odd_datasets.catalogue import SETS, make
from benchmarks.odd_datasets.measuring import Ended, Place, command, has_begun, measure, printed, row_of
from benchmarks.odd_datasets.results import append_row, is_measured, newest, read_rows, verdict

ROWS = [
    {"set": name, "network": "convnet", "protocol": "strict", "mean": mean, "std": 0.0, "n": 2, "seeds": [0, 1]}
    | {"accuracies": [mean, mean]}
    for name, mean in (("random", 0.4), ("ast", 0.6), ("full", 0.9))
]
REFUSAL = {"error": {"type": "DataError", "message": "no images"}}
Script = Callable[[str], None]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path / "sets", tmp_path / "work", seconds=60)
    make(SETS["ten-per-class"], found.sets)
    return found


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Let Python code stand for ast-ray: the command's words are in sys.argv."""

    def use(code: str) -> None:
        (tmp_path / "fake").mkdir(exist_ok=True)
        (tmp_path / "fake" / "ast_ray.py").write_text(code)
        monkeypatch.setattr(measuring, "ROOT", tmp_path / "fake")

    return use


def ended(code: int | None = 0, *messages: str, **printed: Any) -> Ended:
    return Ended(code, 12.34, printed, messages)


def test_only_where_the_work_runs_is_added_to_the_users_command(place: Place) -> None:
    odd = SETS["clothes-npz"]
    assert measuring.user_command(odd) == [
        *("run", "--source", "clothes-npz/clothes.npz", "--ipc", "1", "--train-size", "2000")
    ]
    words = command(odd, place)
    assert words[words.index("--source") + 1] == str(place.sets / "clothes-npz" / "clothes.npz")
    added = [word for word in words if word.startswith("--") and word not in measuring.user_command(odd)]
    assert added == ["--out", "--json", "--backend", "--threads", "--root"]
    assert command(odd, Place(place.sets, place.work, iterations=3))[-2:] == ["--iterations", "3"]


@pytest.mark.parametrize(
    ("end", "trained", "expected"),
    [
        (ended(rows=ROWS), True, "above"),
        (ended(rows=[{**ROWS[0], "mean": 0.7}, *ROWS[1:]]), True, "below"),
        (ended(1, rows=ROWS, **REFUSAL), True, "above"),  # a part of the run failed, these two did not
        (ended(2, **REFUSAL), False, "refused"),
        (ended(3, **REFUSAL), True, "failed"),
        (ended(1, "Traceback", "KeyError: 'x'"), False, "failed"),
        (ended(None, **REFUSAL), False, "failed"),
        (ended(rows=ROWS[:1]), True, "failed"),
        (ended(rows=[*ROWS, {"set": "mtt", "error": "alpha"}]), True, "above"),  # a row without a result
        (ended(rows=[{**row, "protocol": "peak"} for row in ROWS]), True, "failed"),
    ],
)
def test_verdicts(end: Ended, trained: bool, expected: str, place: Place) -> None:
    odd = SETS["ten-per-class"]
    if trained:
        (place.out(odd) / "experts" / "abc" / ".expert-00000").mkdir(parents=True)
    row = row_of(odd, place, end)
    assert (row["verdict"], row["seconds"], row["exit_code"]) == (expected, 12.3, end.exit_code)
    assert "shared" not in row
    assert row_of(odd, dataclasses.replace(place, shared=True), end)["shared"] is True
    assert bool(row["message"]) == (bool(end.exit_code) or end.exit_code is None)


def test_work_begins_with_the_first_expert_or_network(tmp_path: Path) -> None:
    (tmp_path / "experts" / "abc").mkdir(parents=True)
    (tmp_path / "experts" / "abc" / "buffer.json").touch()
    (tmp_path / "evaluation").mkdir()
    assert not has_begun(tmp_path)
    (tmp_path / "evaluation" / "random-convnet-strict-0.json").touch()
    assert has_begun(tmp_path)
    (tmp_path / "other" / "experts" / "abc").mkdir(parents=True)
    (tmp_path / "other" / "experts" / "abc" / "expert-00000.parquet").touch()
    assert has_begun(tmp_path / "other")


def test_a_row_says_what_was_measured_without_paths(place: Place) -> None:
    lines = (f"{place.sets}/ten-per-class: odd", f"{sys.prefix}/lib/x.py: a warning")
    error = {"type": "DataError", "message": f"{place.sets}/ten-per-class: no\nimages"}
    row = row_of(SETS["ten-per-class"], place, ended(1, *lines, error=error))
    assert (row["classes"], row["images"], row["size"], row["container"]) == (10, 300, "32 px", "PNG")
    assert row["message"] == "ten-per-class: no\nimages"
    assert row["said"] == ["ten-per-class: odd", "lib/x.py: a warning"]
    assert row["command"] == ["ast-ray", "run", "--source", "ten-per-class", "--ipc", "1"]
    assert str(place.sets.parent) not in json.dumps(row)


def test_what_was_printed_is_put_together() -> None:
    text = 'progress\n{"rows": [], "run": "a"}\n[1]\n{"error": {"message": "x"}}\n'
    assert printed(text) == {"rows": [], "run": "a", "error": {"message": "x"}}


def test_a_process_becomes_a_row_and_leaves_no_trace_of_an_earlier_one(place: Place, script: Script) -> None:
    out = place.out(SETS["ten-per-class"])
    script(
        "import json, pathlib, sys\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "print(out.exists(), file=sys.stderr)\n"
        "out.mkdir()\n"
        f"print(json.dumps({{'rows': {ROWS!r}}}))\n"
    )
    odd = [SETS["ten-per-class"]]
    for _ in range(2):
        (row,) = measure(odd, place)
        assert (row["verdict"], row["exit_code"], row["said"]) == ("above", 0, ["False"])
        assert out.exists()
    assert row["accuracy"]["ast"]["accuracies"] == [0.6, 0.6]
    assert {"when", "commit", "hardware", "versions", "package"} <= row.keys()


def test_a_run_ends_at_its_limit_with_what_it_started(place: Place, script: Script, tmp_path: Path) -> None:
    script(
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "time.sleep(100)\n"
    )
    (row,) = measure([SETS["ten-per-class"]], Place(place.sets, place.work, seconds=2))
    assert (row["verdict"], row["exit_code"]) == ("failed", None)
    assert row["message"] == "stopped at the time limit of 2 s"
    assert gone(int((tmp_path / "child").read_text()))


def test_whoever_stops_listening_ends_the_runs(place: Place, script: Script, tmp_path: Path) -> None:
    make(SETS["single-class"], place.sets)
    script(
        "import os, pathlib, sys, time\n"
        "if 'single-class' in sys.argv[3]: sys.exit(1)\n"
        f"pathlib.Path({str(tmp_path / 'own')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(100)\n"
    )
    rows = measure([SETS["ten-per-class"], SETS["single-class"]], place, at_once=2)
    assert next(rows)["set"] == "single-class"
    while not (tmp_path / "own").exists() or not (tmp_path / "own").read_text():
        time.sleep(0.05)
    rows.close()  # type: ignore[attr-defined]
    assert gone(int((tmp_path / "own").read_text()))


def gone(process: int) -> bool:
    """True once no such process runs: one that nobody has waited for counts as ended."""
    for _ in range(100):
        try:
            os.kill(process, 0)
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False


def test_rows_are_appended_and_the_newest_counts(tmp_path: Path) -> None:
    path, row = tmp_path / "results" / "odd.jsonl", dict.fromkeys(results._REQUIRED, "x")
    for package in ("old", "new"):
        append_row(path, {**row, "package": package})
    rows = read_rows(path)
    assert [found["package"] for found in rows] == ["old", "new"]
    assert newest(rows) == {"x": rows[1]}
    assert is_measured(rows, "x", "x")
    assert is_measured(rows, "x", "x", "old")
    assert not is_measured(rows, "x", "x", "other")
    assert not is_measured(rows, "x", "changed")
    path.write_text('{"set": "x"}\n')
    with pytest.raises(StoreError, match="line 1: lacks digest"):
        read_rows(path)


def test_examples_are_true() -> None:
    result = doctest.testmod(results)
    assert result.failed == 0 < result.attempted
    assert verdict({"ast": {"mean": 0.6}, "random": {"mean": 0.5}}, refused=True) == "above"


def test_a_real_command_is_run_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.jsonl"
    words = ["run", "single-class", "--sets", str(tmp_path / "sets"), "--work", str(tmp_path / "work")]
    words += ["--results", str(path), "--minutes", "2"]
    assert main(words) == 0
    (row,) = read_rows(path)
    assert (row["verdict"], row["exit_code"]) == ("refused", 1)
    assert row["message"].startswith("single-class: a single class, 'disc'")
    assert "single-class: refused" in capsys.readouterr().err
    assert main(words) == 0
    assert "0 sets to run" in capsys.readouterr().err
    assert len(read_rows(path)) == 1
    assert main(["list", "--results", str(path)]) == 0
    assert "single-class           refused" in capsys.readouterr().out
    assert main([*words[:1], "single-clas", *words[2:]]) == 2
    assert "did you mean 'single-class'" in capsys.readouterr().err
