"""Sets through `ast-ray run` as a new user would type it, each in a process of its own, and the row of each."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.odd_datasets.catalogue import OddSet, claim
from benchmarks.odd_datasets.results import Row, verdict
from benchmarks.odd_datasets.writing import described, digest
from benchmarks.reproduce.results import ROOT, provenance

_POLL = 0.2


@dataclass(frozen=True)
class Place:
    """Folders of sets and runs, and what a run is given; ``iterations`` above 0 makes it a trial, not a measurement.

    ``shared``: the machine does other work besides, so that times say nothing.
    """

    sets: Path
    work: Path
    seconds: float = 1800.0
    threads: int = 1
    iterations: int = 0
    shared: bool = False

    def out(self, odd: OddSet) -> Path:
        """The run directory of a set."""
        return self.work / odd.name

    def decoded(self, odd: OddSet) -> Path:
        """The cache of a set's decoded images, which a run finds empty."""
        return self.work / "decoded" / odd.name


@dataclass(frozen=True)
class Ended:
    """The end of a process: exit code (None: stopped at the time limit), seconds, printed JSON, lines on stderr."""

    exit_code: int | None
    seconds: float
    printed: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[str, ...] = ()


def user_command(odd: OddSet) -> list[str]:
    """The words after ``ast-ray`` that a user would type, the set's name standing for its path."""
    return ["run", "--source", str(odd.source(Path())), "--ipc", "1", *odd.options]


def command(odd: OddSet, place: Place) -> list[str]:
    """The words after ``ast-ray`` of a measurement: the user's, one process, and folders of its own."""
    words = [*user_command(odd), "--out", str(place.out(odd)), "--json", "--backend", "serial"]
    words[words.index("--source") + 1] = str(odd.source(place.sets))
    words += ["--threads", str(place.threads), "--root", str(place.decoded(odd))]
    return [*words, *(["--iterations", str(place.iterations)] if place.iterations else [])]


def measure(todo: Sequence[OddSet], place: Place, *, at_once: int = 1) -> Iterator[dict[str, Any]]:
    """Run sets that lie in ``place.sets``, each from nothing, some side by side; yield their rows as they end.

    Whoever stops asking for rows ends the processes that still run.
    """
    claim(place.work)
    waiting, active = list(todo), list[Running]()
    try:
        while waiting or active:
            while waiting and len(active) < at_once:
                active.append(Running(waiting.pop(0), place))
            for running in list(active):
                if (ended := running.ended()) is not None:
                    active.remove(running)
                    yield {**row_of(running.odd, place, ended), **running.about}
            time.sleep(_POLL if active else 0)
    finally:
        for running in active:
            running.kill()


class Running:
    """One command at work in a process of its own; what it prints lies in files beside the run directory."""

    def __init__(self, odd: OddSet, place: Place) -> None:
        self.odd, self._limit = odd, place.seconds
        self.about = {**provenance(), "package": package_version()}  # before the run: the checkout may change meanwhile
        for old in (place.out(odd), place.decoded(odd)):
            shutil.rmtree(old, ignore_errors=True)
        self._output, self._errors = (place.work / f"{odd.name}.{name}" for name in ("stdout", "stderr"))
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ast_ray", *command(odd, place)],
                cwd=place.work,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self._began = time.perf_counter()

    def ended(self) -> Ended | None:
        """Return what came of it once it has ended or been killed at its time limit; None before."""
        seconds, code = time.perf_counter() - self._began, self._process.poll()
        if code is None:
            if seconds < self._limit:
                return None
            self.kill()
        lines = [line for line in self._errors.read_text(encoding="utf-8").splitlines() if line.strip()]
        return Ended(code, seconds, printed(self._output.read_text(encoding="utf-8")), tuple(lines))

    def kill(self) -> None:
        """End the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def printed(output: str) -> dict[str, Any]:
    """All JSON objects on stdout as one; a later one wins."""
    found: dict[str, Any] = {}
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            item = json.loads(line)
            found |= item if isinstance(item, dict) else {}
    return found


def row_of(odd: OddSet, place: Place, ended: Ended) -> dict[str, Any]:
    """A line of the results file, but for its provenance; paths in messages are shortened to names."""
    rows = [row for row in ended.printed.get("rows", ()) if row.get("protocol") == "strict" and row.get("accuracies")]
    accuracy = {row["set"]: _accuracy(row) for row in rows}
    error = ended.printed.get("error") or {}
    refused = bool(error) and ended.exit_code not in (0, None) and not has_begun(place.out(odd))
    return {
        "set": odd.name,
        "digest": digest(place.sets / odd.name),
        **asdict(described(odd.source(place.sets))),
        "command": ["ast-ray", *user_command(odd)],
        "threads": place.threads,
        "iterations": place.iterations or None,
        "exit_code": ended.exit_code,
        "seconds": round(ended.seconds, 1),
        **({"shared": True} if place.shared else {}),
        "accuracy": accuracy,
        "verdict": verdict(accuracy, refused=refused),
        "message": _shortened(_message(error, ended, place), place),
        "said": [_shortened(line, place) for line in ended.messages],
    }


def _accuracy(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("mean", "std", "n", "seeds", "accuracies")}


def _message(error: Mapping[str, Any], ended: Ended, place: Place) -> str:
    """Why there is no result, as the command said it; empty where it has one."""
    if error:
        return str(error["message"])
    if ended.exit_code is None:
        return f"stopped at the time limit of {place.seconds:.0f} s"
    return ended.messages[-1] if ended.exit_code and ended.messages else ""


def _shortened(text: str, place: Place) -> str:
    folders = (place.sets, place.work, ROOT, Path(sys.prefix), Path(sys.base_prefix), Path.home())
    for folder in sorted(folders, key=lambda path: -len(path.parts)):  # inner ones first
        text = text.replace(f"{folder}{os.sep}", "")
    return text


def has_begun(out: Path) -> bool:
    """Tell if a run has started to train: its directory holds an expert, whole or in part, or an evaluated network."""
    return any(out.glob("experts/*/*expert-*")) or any(out.glob("evaluation/*"))


def package_version() -> str:
    """Hash of the package's source in the newest commit; ``unknown`` outside git."""
    words = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD:ast_ray"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def trial_row(row: Row) -> str:
    """A row in one line, for progress."""
    means = ", ".join(f"{name} {100 * item['mean']:.1f}" for name, item in row["accuracy"].items())
    why = "; ".join(str(row["message"]).splitlines())
    return (
        f"{row['set']}: {row['verdict']} after {row['seconds']:.0f} s{': ' * bool(means)}{means}{': ' * bool(why)}{why}"
    )
