"""Cells run once, go on where they stopped, and give the same rows on any executor."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_ray.errors import DivergenceError
from ast_ray.stages.executor import SerialExecutor
from ast_ray.storage.lock import exclusive
from ast_ray.telemetry.progress import Silent
from benchmarks.reproduce import running
from benchmarks.reproduce.cells import Cell, cells_of
from benchmarks.reproduce.driving import Place, missing, run_cells
from benchmarks.reproduce.results import read_rows
from benchmarks.reproduce.running import ROLE, run_cell
from benchmarks.reproduce.slicing import UNFINISHED, run_slice
from benchmarks.reproduce.studies import METHODS, PROTOCOLS
from tests.tiny import subprocess_environment

MakePlace = Callable[..., Place]
NAMES = ("MTT", "AST", "herding", "forgetting", "random")


def cells(base: str, *names: str, study: str = "methods", reachable: bool = False) -> list[Cell]:
    return cells_of([study], "cpu", [0], bases=[base], variants=names, reachable=reachable)


def run(todo: list[Cell], place: Place, **options: Any) -> int:
    return run_cells(todo, place, SerialExecutor(Silent()), Silent(), **options)


def results(place: Place) -> dict[str, Any]:
    return {row["variant"]: row["accuracy"] for row in read_rows(place.results)}


def test_cells_get_rows_and_are_not_run_again(tiny_base: str, place: MakePlace) -> None:
    here, todo = place(), cells(tiny_base, *NAMES)
    assert run(todo, here) == 5
    rows = {row["variant"]: row for row in read_rows(here.results)}
    assert rows.keys() == set(NAMES)
    for name, row in rows.items():
        assert {protocol: len(values) for protocol, values in row["accuracy"]["convnet"].items()} == {"strict": 2}
        assert ("distillation" in row) == (name in ("MTT", "AST"))
        assert ("experts" in row) == (name != "random")
        assert (row["commit"], row["seed"], row["diverged"]) == ("abc", 0, None)
        assert str(here.work) not in json.dumps(row)
    assert rows["AST"]["experts"]["count"] == 2
    assert rows["AST"]["experts"]["cpu_seconds"] > 0
    assert rows["AST"]["distillation"]["cpu_seconds"] > 0
    before = here.results.read_bytes()
    assert missing(todo, here.results) == []
    assert run(todo, here) == 0
    assert here.results.read_bytes() == before


def test_what_two_cells_need_is_made_once(tiny_base: str, place: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.reproduce.cells.study", lambda name: studies[name])
    short = {"cpu": {"evaluate.protocols": "strict,peak"}}
    studies = {"methods": METHODS, "protocols": _replaced(PROTOCOLS, tiny_base, short)}
    here = place()
    assert run(cells(tiny_base, "AST"), here) == 1
    monkeypatch.setattr(running, "distill", _never)
    monkeypatch.setattr(running, "train_experts", _never)
    assert run(cells(tiny_base, "AST", study="protocols"), here) == 1
    methods, protocols = read_rows(here.results)
    assert methods["accuracy"]["convnet"]["strict"] == protocols["accuracy"]["convnet"]["strict"]
    assert len(protocols["accuracy"]["convnet"]["peak"]) == 2
    assert methods["cell"] != protocols["cell"]


def _replaced(study: Any, base: str, settings: Any) -> Any:
    return dataclasses.replace(study, bases={"cpu": (base,)}, settings=settings)


def _never(*_: object) -> None:
    raise AssertionError("made twice")


def test_a_divergence_is_a_row(tiny_base: str, place: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object) -> None:
        raise DivergenceError("distilled: loss is nan; last good state: iteration 3, /some/where")

    monkeypatch.setattr(running, "distill", diverge)
    assert run(cells(tiny_base, "AST"), place()) == 1
    (row,) = read_rows(place().results)
    assert row["diverged"] == "distilled: loss is nan"
    assert row["accuracy"] == {}


def test_experts_that_diverge_are_a_row_too(tiny_base: str, place: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def diverge(job: Any, _: object) -> None:
        trained.extend(job.ids)
        raise DivergenceError("expert 0 diverged in epoch 1")

    monkeypatch.setattr(running, "train_experts", diverge)
    here = place()
    assert run(cells(tiny_base, "AST", "random"), here) == 2
    rows = {row["variant"]: row["diverged"] for row in read_rows(here.results)}
    assert rows == {"AST": "expert 0 diverged in epoch 1", "random": None}
    before = len(trained)
    assert run(cells(tiny_base, "herding"), here) == 1  # the same experts: not tried again
    assert len(trained) == before


def test_a_cell_another_process_is_at_is_left_alone(tiny_base: str, place: MakePlace) -> None:
    here, (cell,) = place(), cells(tiny_base, "random")
    job = here.job(cell)
    with exclusive(job.folder / ".lock", wait=False, owner="test"):
        assert run_cell(job, Silent()) is None
        assert run([cell], here) == 0
    assert run([cell], here) == 1


def test_slices_end_with_the_rows_of_one_long_run(tiny_base: str, place: MakePlace, tmp_path: Path) -> None:
    whole, cut, out = place("whole"), place("cut"), tmp_path / "out"
    names = ("MTT", "AST", "herding")
    run(cells(tiny_base, *names, reachable=True), whole)
    codes = []
    while not codes or codes[-1] == UNFINISHED:
        assert len(codes) < 400, "slices make no progress"  # on a busy machine each does a single piece of work
        codes.append(
            run_slice(
                ["methods"], cut, scale="cpu", bases=[tiny_base], variants=names, seeds=[0], seconds=0.15, out=out
            )
        )
    assert codes[-1] == 0
    assert len(codes) > 3, "nothing was cut"
    assert results(cut) == results(whole)
    for path in (whole.work / "distilled").glob("*/synthetic.safetensors"):
        assert (cut.work / path.relative_to(whole.work)).read_bytes() == path.read_bytes()
    assert read_rows(out / "cells.jsonl") == read_rows(cut.results)
    state = json.loads((out / "slice.json").read_text())
    assert state["left"] == 0
    assert all(item["finished"] and item["taken"] for item in state["distilled"].values())
    assert ROLE == "distilled"


def test_a_slice_needs_no_ray(root: Path, tmp_path: Path) -> None:
    words = ["slice", "methods", "--base", "digits-short", "--variant", "random", "--seeds", "1", "--root", str(root)]
    words += ["--work", str(tmp_path), "--results", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out")]
    program = f"import sys; sys.modules['ray'] = None; from benchmarks.reproduce.__main__ import main; main({words})"
    done = subprocess.run([sys.executable, "-c", program], env=subprocess_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '{"cells": 1, "left": 0}\n'), done.stderr
    assert len(read_rows(tmp_path / "rows.jsonl")) == 1


def test_a_slice_takes_home_three_files(tiny_base: str, place: MakePlace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = run_slice(
        ["methods"], place(), scale="cpu", bases=[tiny_base], variants=["AST"], seeds=[0], seconds=60, out=out
    )
    assert code == 0
    assert sorted(file.name for file in out.iterdir()) == ["cells.jsonl", "sets.zip", "slice.json"]
    with zipfile.ZipFile(out / "sets.zip") as archive:
        kinds = sorted(name.partition("/")[2] for name in archive.namelist())
    assert kinds == ["metrics.jsonl", "outcome.json", "synthetic.json", "synthetic.png", "synthetic.safetensors"]
