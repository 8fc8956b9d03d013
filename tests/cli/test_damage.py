"""Every file of a run damaged in every way: the right result or one error, JSON, and never a trace of calls."""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ast_ray.cli.main import main
from tests.damage import Damage, coarse, damages, repaired
from tests.tiny import arguments, artefacts

FEW = {
    "network.width": 8,
    "expert.count": 1,
    "distill.iterations": 3,
    "distill.syn_steps": 2,
    "distill.validate_every": 2,
    "distill.validate_networks": 1,
    "distill.checkpoint_every": 1,
    "evaluate.passes": 2,
    "evaluate.networks": 1,
    "run.methods": "ast",
    "run.baselines": "random",
}
# Which files a command reads. Any other file is emptied and replaced by a folder, which must not matter; for commands
# of two words, which are variants of others, they are left alone.
READS = {
    "info": (
        "config.yaml",
        "results.json",
        "*/outcome.json",
        "*/synthetic.safetensors",
        "*/last.safetensors",
        "*/expert-*.parquet",
    ),
    "report": (
        "config.yaml",
        "manifest.json",
        "results.json",
        "features.json",
        "*/outcome.json",
        "*/metrics.jsonl",
        "*/snapshots/*",
        "*/buffer.json",
        "*/synthetic.safetensors",
        "*/last.safetensors",
        "*/expert-*.parquet",
    ),
    "export": ("results.json", "*/synthetic.safetensors"),
    "evaluate": ("*/synthetic.safetensors",),
    "run": (
        "config.yaml",
        "manifest.json",
        "results.json",
        "*/outcome.json",
        "*/buffer.json",
        "*/expert-*.parquet",
        "*/synthetic.safetensors",
        "*/last.safetensors",
        "evaluation/*",
    ),
    "with features report": ("features.json", "*/synthetic.safetensors"),
    "unfinished info": ("*/metrics.jsonl",),
    "unfinished run": ("*/checkpoint.safetensors", "*/metrics.jsonl", "*/snapshots/*"),
}
# Commands that write into the run directory: they get a copy of their own.
WRITE = ("run", "with features report", "unfinished run")
# What is appended to is cut off anywhere by a kill, and the run goes on from there.
CUT_OFF = ("unfinished info", "distill/ast/metrics.jsonl")


@dataclass
class Tally:
    """What the fuzz found."""

    cases: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    unnoticed: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest: tuple[float, str] = (0.0, "")


@dataclass(frozen=True)
class Fuzz:
    """A run directory, how commands are given on a copy of it, and what each gives when nothing is damaged."""

    root: Path
    whole: Path
    scratch: Path

    def words(self, command: str, run: Path) -> list[str]:
        """The command line; what it writes goes to ``scratch``, where it can."""
        out = self.scratch / "out"
        kind, features = command.split()[-1], () if "features" in command else ("--no-features",)
        words = {
            "info": ["info", run],
            "report": ["report", run, *features, "--out", out / "page.html"],
            "export": ["export", run, "--format", "npz", "--out", out],
            "evaluate": ["evaluate", run, "--out", out, "--backend", "serial", "--data.root", self.root],
            "run": ["run", *arguments(self.root, FEW), "--out", run],
        }
        return [*map(str, words[kind]), "--json"]

    def call(self, command: str, run: Path) -> Result:
        """Run a command in this process."""
        shutil.rmtree(self.scratch / "out", ignore_errors=True)
        return CliRunner().invoke(main, self.words(command, run))

    def result(self, command: str, run: Path, result: Result) -> object:
        """What a command gave, for comparison."""
        out, written = self.scratch / "out", json.loads(result.stdout)
        if command.endswith("report"):
            return (out / "page.html").read_text().replace(str(run), "RUN")
        if command == "export":
            return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        if command == "evaluate":
            return written["rows"]
        if command.endswith("run"):
            found = artefacts(run)
            return written, {name: json.loads(part) if name.endswith(".json") else part for name, part in found.items()}
        return json.loads(result.stdout.replace(str(run), "RUN"))


@pytest.fixture(scope="module")
def fuzz(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Fuzz:
    scratch = tmp_path_factory.mktemp("fuzz")
    whole = scratch / "whole"
    words = ["run", *arguments(root, FEW), "--out", str(whole), "--json"]
    for command in (words, ["report", str(whole), "--out", str(scratch / "page.html")]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    return Fuzz(root, whole, scratch)


def prepared(fuzz: Fuzz, command: str, to: Path) -> Path:
    """A fresh copy of the run; an unfinished one is at its last checkpoint."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(fuzz.whole, to)
    if command.startswith("unfinished"):
        for path in (to / "results.json", *to.glob("evaluation/*"), *to.glob("distill/*/outcome.json")):
            path.unlink()
    return to


def files_of(run: Path) -> list[str]:
    names = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith(("tensorboard", "report.html")))


def read_by(command: str, name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in READS[command])


def cases(command: str, whole: Path) -> Iterator[tuple[str, Damage]]:
    for name in files_of(whole):
        content = (whole / name).read_bytes()
        others = coarse(content) if " " not in command else ()
        for damage in damages(content) if read_by(command, name) else others:
            yield name, damage


def problem_of(result: Result) -> str:
    """What is wrong with how a command ended; empty for a result, and for an error told well."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"trace {result.exception!r}"
    try:
        told = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    except ValueError:
        return f"no JSON: {result.stdout[:80]!r}"
    if "Traceback" in result.stderr:
        return "trace on stderr"
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(told, dict) and told.get("failed"):  # the rest is finished, and a row says what is not
        return "" if result.exit_code == 1 and "missing: " in result.stderr else "a failed method told badly"
    if (error is None) != (result.exit_code == 0) or result.exit_code not in (0, 1, 2, 3):
        return f"exit code {result.exit_code} with {result.stdout[:80]}"
    if error is None:
        return ""
    if error["type"] == "UnexpectedError":
        return f"unexpected: {error['message'][:300]}"
    return "" if result.stderr.count("error: ") == 1 else f"{result.stderr.count('error: ')} errors on stderr"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two hundred commands and more, on a machine that others may share
@pytest.mark.parametrize("command", READS)
def test_a_damaged_file_gives_the_right_result_or_one_error(
    fuzz: Fuzz, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    work = fuzz.scratch / "work"
    run = prepared(fuzz, command, work)
    first = fuzz.call(command, run)
    assert first.exit_code == 0, first.output
    expected = fuzz.result(command, run, first)
    tally, whole = Tally(), prepared(fuzz, command, fuzz.scratch / "undamaged")
    for name, damage in cases(command, whole):
        if command in WRITE:
            prepared(fuzz, command, work)
        damage.apply(work / name)
        began = time.perf_counter()
        result = fuzz.call(command, work)
        tally.longest = max(tally.longest, (time.perf_counter() - began, f"{name}: {damage.name}"))
        if not read_by(command, name):
            restore(work / name, whole / name)
        take(tally, fuzz, command, name, damage, result, expected)
        restore(work / name, whole / name)
    with capsys.disabled():
        sys.stdout.write(f"\n{command}: {dict(tally.cases)}, {dict(tally.outcomes)}, longest {tally.longest[0]:.2f} s ")
    assert not tally.wrong, "\n".join(tally.wrong)
    assert not tally.unnoticed, tally.unnoticed
    assert tally.outcomes["refused"] or tally.outcomes["right"] > 10


def sources(folder: Path, picture: Callable[..., Path]) -> dict[str, Path]:
    """A file of each kind that images come in, and what is inspected."""
    labels = np.repeat([0, 1, 2], 6)
    pixels = np.arange(18 * 64, dtype=np.uint8).reshape(18, 8, 8)
    np.savez(folder / "images.npz", x=pixels, y=labels, class_names=np.array(["a", "b", "c"]))
    pictures = []
    for number, image in enumerate(pixels):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        pictures.append({"bytes": stream.getvalue(), "path": f"{number}.png"})
    columns = {"image": pa.array(pictures), "label": pa.array(labels)}
    pq.write_table(pa.table(columns).replace_schema_metadata({"class_names": '["a", "b", "c"]'}), folder / "p.parquet")
    for name in ("cat", "dog"):
        for number in range(4):
            picture(folder / "pets" / name / f"{number}.png", size=(8, 8), seed=number)
    whole = {"images.npz": "images.npz", "p.parquet": "p.parquet", "pets/cat/1.png": "pets"}
    return {name: folder / place for name, place in whole.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images.npz", "p.parquet", "pets/cat/1.png"])
def test_a_damaged_source_is_inspected_or_refused(
    name: str, tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, path = sources(tmp_path, make_picture)[name], tmp_path / name
    whole, tally = path.read_bytes(), Tally()
    place = ["--root", str(tmp_path / "root"), "--png", str(tmp_path / "s.png")]
    for damage in damages(whole):
        damage.apply(path)
        for more in ([], ["--skip-corrupt"]):
            result = CliRunner().invoke(main, ["data", "inspect", str(source), *place, "--json", *more])
            problem = problem_of(result)
            tally.outcomes["refused" if result.exit_code else "inspected"] += 1
            tally.wrong += [f"{name}, {damage.name}: {problem}"] if problem else []
        repaired(path, whole)
    with capsys.disabled():
        sys.stdout.write(f"\ndata inspect {name}: {dict(tally.outcomes)} ")
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.outcomes["refused"] > 10


def take(tally: Tally, fuzz: Fuzz, command: str, name: str, damage: Damage, result: Result, expected: object) -> None:
    """Count one case."""
    where = f"{command}, {name}: {damage.name}"
    tally.cases["read" if read_by(command, name) else "not read"] += 1
    problem = problem_of(result)
    if problem:
        tally.wrong.append(f"{where}: {problem}")
        return
    if result.exit_code:
        tally.outcomes["refused"] += 1
        if not read_by(command, name):
            tally.wrong.append(f"{where}: refused for a file that it does not read: {result.stderr}")
        return
    found = fuzz.result(command, fuzz.scratch / "work", result)
    if found == expected:
        tally.outcomes["right"] += 1
    elif command == "run" and left_alone(found, expected, name):
        tally.outcomes["left alone"] += 1
    elif damage.name == "missing" or ((command, name) == CUT_OFF and damage.cut):  # which is another run, well told
        tally.outcomes["another"] += 1
    elif Path(name).name in result.stderr or f"{Path(name).name} is damaged" in str(found):
        tally.outcomes["told"] += 1
    elif damage.subtle:
        tally.outcomes["unnoticed"] += 1
        tally.unnoticed[command, Path(name).name] += 1
    else:
        tally.wrong.append(f"{where}: another result, unnoticed")


def left_alone(found: Any, expected: Any, name: str) -> bool:
    """Tell if only an expert itself is another: a finished run reads its footer; who reads its weights is told."""
    (printed, files), (printed_before, files_before) = found, expected
    others = files.keys() | files_before.keys()
    same = all(files.get(other) == files_before.get(other) for other in others if other != name)
    return fnmatch(name, "experts/*/expert-*.parquet") and printed == printed_before and same


def restore(path: Path, whole: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    repaired(path, whole.read_bytes())
