"""A whole digits run with something killed every few seconds, against the same run left alone.

    python benchmarks/chaos.py [--every 7] [--experts 4] [--epochs 12] [--iterations 60] [--seed 0]

A cluster of a head and two nodes runs on this machine. In turn a worker, a node (another takes its place) and the
driver (the same command is given again) get SIGKILL, until the run is finished. Experts, synthetic sets and results
must be the quiet run's bytes. Work is counted by the workers themselves: an epoch, an iteration or an evaluated network
that was done more than once was repeated. The last line is JSON; the exit code is 1 when a byte differs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ast_ray.config import Config, apply_overrides, check
from ast_ray.config.presets import preset
from ast_ray.stages.executor import Executor, SerialExecutor, nothing
from ast_ray.stages.run.pipeline import Plan, run_all
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.telemetry.progress import ProgressSink, Silent, Update

_QUICK = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "2",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_AUTH_MODE": "token",
    "OMP_NUM_THREADS": "1",
}
_NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
_ORDER = ("worker", "worker", "node", "worker", "driver")
_LIMIT = 280.0  # seconds


class Noted:
    """A stage that appends to a file which job runs where, and every unit it reports."""

    def __init__(self, function: Callable[[Any, ProgressSink], Any], folder: str) -> None:
        self.function, self.folder = function, folder

    def __call__(self, job: Any, sink: ProgressSink) -> Any:
        """Run the stage."""
        self.note("workers", f"{os.getpid()}")
        result = self.function(job, _Noting(sink, self))
        for index in getattr(job, "indices", ()):
            self.note("units", f"networks {job.row(index)}")
        return result

    def note(self, kind: str, line: str) -> None:
        """Append a line; short appends of several processes do not mix."""
        with (Path(self.folder) / kind).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class _Noting:
    def __init__(self, sink: ProgressSink, noted: Noted) -> None:
        self._sink, self._noted = sink, noted

    def update(self, update: Update) -> None:
        """Note the unit and pass it on."""
        kind = {"ast": "epochs", "distill": "iterations"}.get(update.key.split()[0])
        if kind:
            self._noted.note("units", f"{kind} {update.key} {update.done}")
        self._sink.update(update)

    def say(self, message: str) -> None:
        """Pass on."""
        self._sink.say(message)


class NotedExecutor:
    """An executor whose jobs are noted."""

    def __init__(self, inner: Executor, folder: str) -> None:
        self._inner, self._folder = inner, folder

    def run(
        self, function: Any, jobs: Sequence[Any], *, long_lived: bool = True, following: Any = nothing
    ) -> Iterator[Any]:
        """See `Executor.run`."""
        return self._inner.run(Noted(function, self._folder), jobs, long_lived=long_lived, following=following)


def settings(options: argparse.Namespace) -> Config:
    """Digits, small enough for minutes."""
    values = {
        "network.width": 32,
        "network.depth": 2,
        "expert.count": options.experts,
        "expert.epochs": options.epochs,
        "distill.iterations": options.iterations,
        "distill.syn_steps": 10,
        "distill.max_start_epoch": 2,
        "distill.validate_every": options.iterations // 2,
        "distill.checkpoint_every": 5,
        "evaluate.networks": 2,
        "evaluate.passes": 100,
        "run.methods": "ast",
        "run.baselines": "random",
        "compute.checkpoint_seconds": 0,
        "compute.max_attempts": 100,
    }
    return check(apply_overrides(preset("digits"), values))


def whole_run(config: Config, folder: Path, executor: Executor) -> None:
    """What ``ast-ray run`` does, without a display."""
    import torch

    from ast_ray.stages.device import real_data
    from ast_ray.stages.run.open import check_run, record_run

    data = real_data(config.data, torch.device("cpu"))
    plan = Plan(config, data, RunDirectory(folder))
    check_run(plan)
    record_run(plan, ["benchmarks/chaos.py"])
    if failed := run_all(plan, executor, Silent())["failed"]:
        raise SystemExit(f"failed: {failed}")


def drive(options: argparse.Namespace) -> None:
    """The driver that gets killed."""
    import ray

    from ast_ray.ray_backend.executor import RayExecutor
    from ast_ray.ray_backend.session import Capacity

    ray.init(address=options.drive, log_to_driver=False, logging_level="ERROR")
    config = settings(options)
    inner = RayExecutor(Capacity(1, 0, 2), Silent(), max_attempts=config.compute.max_attempts)
    whole_run(config, Path(options.run), NotedExecutor(inner, options.notes))  # type: ignore[arg-type]


def artefacts(folder: Path) -> dict[str, bytes]:
    """What must be the same bytes."""
    names = ("initial", "last", "synthetic", "outcome", "metrics", "buffer", "expert")
    found = [path for path in (*folder.glob("experts/*/*"), *folder.glob("distill/*/*")) if path.name.startswith(names)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in (*found, folder / "results.json")}


class Chaos:
    """The cluster, the driver, and who is killed next."""

    def __init__(self, options: argparse.Namespace, run: Path, notes: Path) -> None:
        from ray.cluster_utils import Cluster

        self._notes, self._random, self.kills = notes, random.Random(options.seed), Counter[str]()
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**_NODE, "num_cpus": 0, "include_dashboard": False}
        )
        self._nodes = [self._cluster.add_node(**_NODE) for _ in range(2)]
        words = ["--drive", self._cluster.address, "--run", str(run), "--notes", str(notes)]
        sizes = [f"--{name}={getattr(options, name)}" for name in ("experts", "epochs", "iterations")]
        self._command = [sys.executable, __file__, *words, *sizes]
        self._driver = subprocess.Popen(self._command)

    def finished(self, seconds: float) -> bool:
        """Wait; whether the run came to its end meanwhile."""
        try:
            code = self._driver.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        if code:
            raise SystemExit(f"the run ended with code {code}")
        return True

    def kill(self, kind: str) -> None:
        """SIGKILL one of a kind."""
        if kind == "driver":
            self._driver.kill()
            self._driver.wait()
            self._driver = subprocess.Popen(self._command)
        elif kind == "node":
            node = self._nodes.pop(self._random.randrange(len(self._nodes)))
            self._cluster.remove_node(node, allow_graceful=False)
            self._nodes.append(self._cluster.add_node(**_NODE))
        elif not self._kill_worker():
            return
        self.kills[kind] += 1
        print(f"killed a {kind}", flush=True)

    def _kill_worker(self) -> bool:
        """One that has begun a job; false when none is at work."""
        noted = self._notes / "workers"
        begun = {int(line) for line in noted.read_text("utf-8").split()} if noted.exists() else set()
        alive = sorted(pid for pid in begun if Path(f"/proc/{pid}").exists())
        if not alive:
            return False
        os.kill(self._random.choice(alive), signal.SIGKILL)
        return True

    def close(self) -> None:
        """End everything that was started here."""
        if self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()
        self._cluster.shutdown()


def chaotic_run(options: argparse.Namespace, run: Path, notes: Path) -> dict[str, Any]:
    """Kill until the run is finished; return the figures."""
    began = time.monotonic()
    chaos = Chaos(options, run, notes)
    try:
        for kind in itertools.cycle(_ORDER):
            if chaos.finished(options.every):
                break
            if time.monotonic() - began > _LIMIT:
                raise SystemExit(f"not finished after {_LIMIT:.0f} s: raise --every")
            chaos.kill(kind)
    finally:
        chaos.close()
    units = Counter((notes / "units").read_text("utf-8").splitlines())
    counted = {
        kind: [count for unit, count in units.items() if unit.startswith(kind)]
        for kind in ("epochs", "iterations", "networks")
    }
    return {
        "seconds": round(time.monotonic() - began, 1),
        "kills": dict(chaos.kills),
        "done": {kind: len(counts) for kind, counts in counted.items()},
        "repeated": {kind: sum(counts) - len(counts) for kind, counts in counted.items()},
    }


def main() -> None:
    """Quiet run, chaotic run, comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=float, default=7.0, help="seconds between two kills")
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="who is killed")
    for name in ("drive", "run", "notes"):
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(_QUICK)
    if options.drive:
        drive(options)
        return
    with tempfile.TemporaryDirectory(prefix="c-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ["RAY_TMPDIR"] = name
        (folder / "notes").mkdir()
        began = time.monotonic()
        whole_run(settings(options), folder / "quiet", SerialExecutor(Silent()))
        quiet = time.monotonic() - began
        print(f"quiet run: {quiet:.1f} s", flush=True)
        figures = chaotic_run(options, folder / "chaos", folder / "notes")
        one, other = artefacts(folder / "quiet"), artefacts(folder / "chaos")
    differing = sorted(one.keys() ^ other.keys()) + [path for path in one if one[path] != other.get(path, b"")]
    print(json.dumps({"quiet_seconds": round(quiet, 1), **figures, "files": len(one), "differing": differing}))
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
