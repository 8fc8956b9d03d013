"""The command line killed at random moments, each time followed by the same command again.

    python benchmarks/kill_and_resume.py [--trials 20] [--seed 0] [--at-once 1] [--keep FOLDER]

A small digits run on a Ray of two workers is left alone twice. Every trial starts the same command in a fresh run
directory and process group, and at a moment drawn over the length of the shorter of these two (start-up included)
sends one of ten strikes: SIGKILL, SIGTERM, SIGHUP or SIGINT to the driver alone or to its whole group, SIGKILL or
SIGTERM to a worker. A third of the trials strikes the second command too. Checked: exit codes, what standard error
says, processes left after ten seconds, and the bytes and names of everything in the run directory once a command came
to its end.

Processes of a trial are known by a variable in their environment, their session and their ancestors; no other is
counted or struck. The last line is JSON; the exit code is 1 when anything was off.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # found also where the repository is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import finish
from benchmarks.trial_processes import Processes, mark

SETTINGS = {
    "data.train_size": 300,
    "network.width": 8,
    "expert.count": 2,
    "expert.epochs": 8,
    "expert.lr_decay_epoch": 4,
    "distill.iterations": 40,
    "distill.max_start_epoch": 5,
    "distill.syn_steps": 10,
    "distill.validate_every": 20,
    "distill.checkpoint_every": 5,
    "evaluate.networks": 2,
    "evaluate.passes": 30,
    "run.methods": "ast",
    "run.baselines": "random",
    "compute.checkpoint_seconds": 0,
    "compute.backend": "ray",
    "compute.workers": 2,
}
STRIKES = (
    *(("driver", name) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")),
    *(("group", name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")),
    *(("worker", name) for name in ("SIGKILL", "SIGTERM")),
)
EXIT_CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
CRASHES = ("Traceback", "*** SIG", "Fatal Python error", "core dumped", "unexpected ", "Exception ignored")
NO_RAY = "Ray did not start on this machine"
PATIENCE = 10.0  # seconds after a driver's end in which its processes have to be gone
LIMIT = 600.0  # seconds that no command takes
MOST = 3  # commands after the last strike until one ends by itself
TIMES = ("seconds", "checksum")  # the checksum of a row covers its time


@dataclass
class Command:
    """One start of the command and how it ended."""

    strike: str = ""
    moment: float = 0.0
    struck: bool = False
    code: int = 0
    seconds: float = 0.0
    until_gone: float = 0.0
    no_ray: bool = False  # Ray gives its start up after half a minute, as on a busy machine
    off: list[str] = field(default_factory=list)


class Place:
    """A folder with a run directory, a home and a Ray of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run, self._count = folder, folder / "run", 0
        (folder / "home").mkdir(parents=True)

    def start(self) -> tuple[subprocess.Popen[bytes], Path]:
        """Start the command in a session, and so a group, of its own; return it and where its messages go."""
        self._count += 1
        messages = self.folder / f"stderr-{self._count}"
        words = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "ast_ray", "run", "--preset", "digits", "--out", str(self.run), *words]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = [str(Path(__file__).resolve().parents[1]), *filter(None, [kept.get("PYTHONPATH")])]
        own = {
            "RAY_worker_niceness": "0",
            "HOME": str(self.folder / "home"),
            "RAY_TMPDIR": str(self.folder),
            "PYTHONPATH": os.pathsep.join(path),
        }
        environment = {**kept, **own, "OMP_NUM_THREADS": "1", **mark(self.folder)}
        with (self.folder / f"stdout-{self._count}").open("wb") as out, messages.open("wb") as err:
            driver = subprocess.Popen(command, env=environment, stdout=out, stderr=err, start_new_session=True)
        return driver, messages


def command(place: Place, strike: tuple[str, str] | None = None, moment: float = 0.0) -> Command:
    """Run the command, struck at a moment or left alone, and look at how it ended."""
    done = Command(" ".join(reversed(strike)) if strike else "", round(moment, 1))
    began = time.monotonic()
    driver, messages = place.start()
    with Processes(driver.pid, place.folder) as processes:
        if strike and waited(driver, moment):
            done.struck = struck(driver, processes, strike)
            done.moment = round(time.monotonic() - began, 1)
        try:
            done.code = driver.wait(LIMIT)
        except subprocess.TimeoutExpired:
            driver.kill()
            done.code = driver.wait()
            done.off.append(f"did not end within {LIMIT:.0f} s")
        ended = time.monotonic()
        done.seconds = round(ended - began, 1)
        left = processes.left(PATIENCE)
        done.until_gone = round(time.monotonic() - ended, 1)
        done.off += [f"still there after {PATIENCE:.0f} s: {line}" for line in left]
        processes.end()
    done.off += wrong_end(done, strike, messages.read_text("utf-8", "replace"))
    return done


def waited(driver: subprocess.Popen[bytes], moment: float) -> bool:
    """Wait for the moment; false when the driver ends first."""
    with suppress(subprocess.TimeoutExpired):
        driver.wait(moment)
        return False
    return True


def struck(driver: subprocess.Popen[bytes], processes: Processes, strike: tuple[str, str]) -> bool:
    """Send the signal; false when the driver ends before there is a worker to send it to."""
    whom, number = strike[0], signal.Signals[strike[1]]
    if whom == "driver":
        driver.send_signal(number)
    elif whom == "group":
        os.killpg(driver.pid, number)
    else:
        while not processes.strike_worker(number):
            if driver.poll() is not None:
                return False
            time.sleep(0.05)
    return True


def wrong_end(done: Command, strike: tuple[str, str] | None, messages: str) -> list[str]:
    """Return what the exit code or standard error should not have been."""
    whom, name = strike if strike and done.struck else ("", "")
    ended = whom in ("driver", "group")
    expected = {EXIT_CODES[name]} if ended else {0}
    told = not ended or name == "SIGKILL" or "Go on with:" in messages or "starts again" in messages
    number = signal.Signals[name].value if ended else 0
    done.no_ray = done.code == 1 and NO_RAY in messages
    if done.no_ray and not ended and "Traceback" not in messages:
        return []
    if ended and done.code == -number and name != "SIGKILL" and not messages:
        return []  # before Python runs: the operating system ends the process
    off = [] if done.code in expected else [f"exit code {done.code} in place of {expected.pop()}"]
    off += [] if told else ["no word of how to go on"]
    off += [f"standard error has {word!r}" for word in CRASHES if word in messages]
    return [*off, *([f"standard error ends: {messages[-600:]}"] if off else [])]


def artefacts(run: Path) -> dict[str, object]:
    """Everything in a run directory by its path: bytes, or content without times; None where it may differ."""
    return {str(path.relative_to(run)): content(path, run) for path in sorted(run.rglob("*")) if counts(path, run)}


def counts(path: Path, run: Path) -> bool:
    """Whether a file has to be there in every run: TensorBoard's have names of their own."""
    return path.is_file() and "tensorboard" not in path.relative_to(run).parts


def content(path: Path, run: Path) -> object:
    """What has to be the same."""
    if path.name in ("manifest.json", "checkpoint.safetensors"):  # when and how often the command was given
        return None
    if path.parent == run / "evaluation":
        if path.suffix == ".json":
            row = json.loads(path.read_bytes())
            return {name: value for name, value in row.items() if name not in TIMES}
        import pyarrow.parquet as parquet

        table = parquet.read_table(path)
        return table.drop_columns([name for name in TIMES if name in table.column_names]).to_pylist()
    return path.read_bytes()


def compared(run: Path, quiet: dict[str, object]) -> list[str]:
    """Return what differs from the undisturbed run."""
    mine = artefacts(run)
    off = [f"missing: {name}" for name in quiet if name not in mine]
    off += [f"left over: {name}" for name in mine if name not in quiet]
    return off + [f"other content: {name}" for name in quiet if name in mine and mine[name] != quiet[name]]


def undisturbed(folder: Path, at_once: int) -> tuple[float, dict[str, object]]:
    """Run the command alone, twice; return the shorter time, and what has to be the same in every run."""
    places = [Place(folder / f"quiet-{number}") for number in range(2)]
    with ThreadPoolExecutor(at_once) as threads:
        done = list(threads.map(command, places))
    quiet = artefacts(places[0].run)
    if off := [text for one in done for text in one.off] + compared(places[1].run, quiet):
        raise SystemExit("\n".join(["left alone:", *off]))
    return min(one.seconds for one in done), quiet


def trial(place: Place, strikes: list[tuple[str, str]], length: float, dice: random.Random) -> list[Command]:
    """Strike, and give the command again until it came to its end by itself."""
    done = [command(place, strike, dice.uniform(0, length)) for strike in strikes]
    while done[-1].code != 0 and len(done) < len(strikes) + MOST:
        done.append(command(place))
    return done


def planned(options: argparse.Namespace) -> Iterator[tuple[random.Random, list[tuple[str, str]]]]:
    """The strikes of every trial: all kinds before one comes again, a second one in every third trial."""
    dice = random.Random(options.seed)
    order: list[tuple[str, str]] = []
    for number in range(options.trials):
        order = order or dice.sample(STRIKES, len(STRIKES))
        second = [dice.choice(STRIKES)] if number % 3 == 2 else []
        yield random.Random(dice.random()), [order.pop(), *second]


def told(number: int, commands: list[Command], off: list[str]) -> str:
    """One line of a trial."""
    parts = []
    for one in commands:
        what = f"{one.strike} at {one.moment} s" + ("" if one.struck else " (over before)") if one.strike else "again"
        parts.append(f"{what}: {one.code} after {one.seconds} s, gone in {one.until_gone} s")
    return f"trial {number}: {'; '.join(parts)}; {'same bytes' if not off else 'OFF'}"


def summary(trials: dict[int, tuple[list[Command], list[str]]]) -> dict[str, Any]:
    """Print the table of what was done and what came out; return the figures."""
    rows: dict[str, list[tuple[Command, list[str]]]] = {" ".join(reversed(kind)): [] for kind in STRIKES}
    for commands, off in trials.values():
        for one in commands:
            if one.struck:
                rows[one.strike].append((one, off))
    print(f"\n{'strike':<16} {'times':>5}  {'exit codes':<14} {'gone, s':>8}  trials off")
    for name, found in rows.items():
        codes = Counter(one.code for one, _ in found)
        shown = ", ".join(f"{code}" + (f" x{count}" if count > 1 else "") for code, count in sorted(codes.items()))
        slowest = max((one.until_gone for one, _ in found), default=0.0)
        print(f"{name:<16} {len(found):>5}  {shown:<14} {slowest:>8.1f}  {sum(bool(off) for _, off in found)}")
    every = [one for commands, _ in trials.values() for one in commands]
    return {
        "trials": len(trials),
        "strikes": {name: len(found) for name, found in rows.items()},
        "over_before": sum(bool(one.strike) and not one.struck for one in every),
        "no_ray": sum(one.no_ray for one in every),
        "slowest_gone": max((one.until_gone for one in every), default=0.0),
        "off": {number: off for number, (_, off) in sorted(trials.items()) if off},
    }


@contextmanager
def folder_of(keep: str) -> Iterator[Path]:
    """A folder with a short name, as sockets need, removed afterwards unless it is to be kept."""
    if keep:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="k-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def main() -> None:
    """Quiet run, trials, table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="who is struck, with what, when")
    parser.add_argument("--at-once", type=int, default=1, help="trials beside one another")
    parser.add_argument("--keep", default="", metavar="FOLDER", help="leave everything there; a short path")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs and nohup hand ignored ones on
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    trials: dict[int, tuple[list[Command], list[str]]] = {}
    with folder_of(options.keep) as folder:
        length, quiet = undisturbed(folder, options.at_once)
        print(f"undisturbed: {length} s, {len(quiet)} files", flush=True)

        def one(number: int, dice: random.Random, strikes: list[tuple[str, str]]) -> None:
            place = Place(folder / str(number))
            commands = trial(place, strikes, length, dice)
            off = [text for one in commands for text in one.off] + compared(place.run, quiet)
            trials[number] = commands, off
            print("\n    ".join([told(number, commands, off), *off]), flush=True)

        with ThreadPoolExecutor(options.at_once) as threads:
            for done in [threads.submit(one, number, *plan) for number, plan in enumerate(planned(options))]:
                done.result()
        figures = summary(trials)
    finish("kill_and_resume", {"undisturbed_seconds": length, "files": len(quiet), **figures})
    sys.exit(1 if figures["off"] else 0)


if __name__ == "__main__":
    main()
