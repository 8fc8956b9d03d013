"""What one expert more costs: the scheduler with stub work on 64 slots, and a buffer of many small experts.

    python benchmarks/scale.py [--experts 250 500 1000] [--slots 16 64] [--raylets 4]

A cluster of a few raylets offers as many logical CPUs as 64 nodes with one task each would; one raylet per node would
not fit on one machine. Every job goes through the real `RayExecutor` to an actor of its own slot, reports three times
and does nothing. The first job of every slot waits until all are up; the clock starts there, so what is measured is
scheduling alone. Each number of slots is a driver process of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ast_ray.telemetry.progress import ProgressSink, Update

_EPOCHS, _PARAMETERS = 50, 1000


@dataclass(frozen=True)
class Stub:
    """A job without work; the first ``slots`` meet in a folder."""

    number: int
    slots: int
    folder: str

    @property
    def key(self) -> str:
        """Its name."""
        return f"expert {self.number}"


def stub(job: Stub, sink: ProgressSink) -> str:
    """Report as an expert of two epochs would."""
    if job.number < job.slots:
        Path(job.folder, str(job.number)).touch()
        while len(os.listdir(job.folder)) < job.slots:
            time.sleep(0.2)
    for epoch in range(3):
        sink.update(Update(job.key, epoch, 2, "accuracy 50.0%"))
    return job.key


class Counting:
    """A sink that counts what reaches the driver."""

    def __init__(self) -> None:
        self.updates = 0

    def update(self, update: Update) -> None:
        """Count."""
        self.updates += 1

    def say(self, message: str) -> None:
        """Ignore."""


def memory_mib(field: str) -> float:
    """Resident memory of this process: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def drive(address: str, marks: list[int], slots: int) -> list[dict[str, Any]]:
    """Run the stubs from this process and measure it: a row when each number of experts is done."""
    import ray

    from ast_ray.ray_backend import executor as module
    from ast_ray.ray_backend.session import Capacity

    looks, forward = 0, module.forward

    def counted(board: Any, sink: Any) -> None:
        nonlocal looks
        looks += 1
        forward(board, sink)

    module.forward = counted
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    free = ray.available_resources().get("object_store_memory", 0.0)
    sink, rows = Counting(), []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Stub(number, slots, folder) for number in range(slots + max(marks))]
        run = module.RayExecutor(Capacity(1, 0, slots), sink).run(stub, jobs)
        began = time.monotonic()
        next(run)
        up, cpu, looked = time.monotonic(), time.process_time(), looks
        for done, _ in enumerate(run, start=2 - slots):
            if done in marks:
                row = {"slots": slots, "experts": done, "start_seconds": up - began}
                row |= {"seconds": time.monotonic() - up, "driver_cpu_seconds": time.process_time() - cpu}
                row |= {"driver_mib": memory_mib("VmRSS"), "driver_peak_mib": memory_mib("VmHWM")}
                used = free - ray.available_resources().get("object_store_memory", free)
                row |= {"object_store_bytes": used, "updates_seen": sink.updates, "looks": looks - looked}
                rows.append(row)
    return rows


def timed(action: Callable[[], Any]) -> float:
    """Seconds an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def buffer_costs(experts: int, folder: Path) -> dict[str, Any]:
    """Write and open a buffer of small experts."""
    from ast_ray.storage.expert_buffer import Buffer
    from ast_ray.storage.trajectory import TrajectoryWriter

    buffer = Buffer(folder / str(experts), {"expert": {"lr": 0.01}, "seed": 0}, experts)
    buffer.prepare()
    theta = np.zeros(_PARAMETERS, np.float32)
    metrics = {"train_loss": 1.0, "penalty": 0.0, "validation_accuracy": 0.5, "move": 0.1}

    def write() -> None:
        for expert_id in range(experts):
            metadata = {"fingerprint": buffer.fingerprint, "expert_id": expert_id, "identity": dict(buffer.identity)}
            with TrajectoryWriter.create(buffer.path(expert_id), _PARAMETERS, metadata) as writer:
                for epoch in range(_EPOCHS + 1):
                    writer.append(epoch, theta, metrics)

    return {
        "experts": experts,
        "write_seconds": timed(write),
        "open_seconds": timed(buffer.prepare),
        "check_seconds": timed(buffer.missing),
        "check_again_seconds": timed(buffer.missing),
        "table_seconds": timed(buffer.summaries),
        "segment_seconds": timed(lambda: buffer.segment(experts - 1, 10, 2)),
        "marker_bytes": buffer.marker.stat().st_size,
        "bytes": sum(path.stat().st_size for path in buffer.folder.iterdir()),
    }


def slope(rows: list[dict[str, Any]], name: str) -> float:
    """Least-squares growth per expert."""
    return float(np.polyfit([row["experts"] for row in rows], [row[name] for row in rows], 1)[0])


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One driver process per number of slots, on one cluster."""
    from ray.cluster_utils import Cluster

    most = max(options.slots)
    node = {"num_cpus": -(-most // options.raylets), "object_store_memory": 80 * 2**20}
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    rows = []
    try:
        for _ in range(options.raylets):
            cluster.add_node(**node)
        for slots in options.slots:
            command = [sys.executable, __file__, "--drive", cluster.address, str(slots)]
            command += ["--experts", *map(str, options.experts)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            # Ray may have said something after our last line.
            rows += json.loads(next(line for line in done.stdout.splitlines() if line.startswith('[{"slots"')))
            print(json.dumps(rows[-len(options.experts) :]), flush=True)
    finally:
        cluster.shutdown()
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument(
        "--slots", type=int, nargs="+", default=[16, 64], help="tasks at once; slopes are those of the most"
    )
    parser.add_argument("--raylets", type=int, default=4)
    parser.add_argument("--drive", nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update({"RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"})
    if options.drive:
        address, slots = options.drive
        print(json.dumps(drive(address, options.experts, int(slots))))
        return
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp", ignore_cleanup_errors=True) as name:
        os.environ["RAY_TMPDIR"] = name
        buffers = [buffer_costs(experts, Path(name)) for experts in options.experts]
        for row in buffers:
            print(row, flush=True)
        rows = measured(options)
    most = [row for row in rows if row["slots"] == max(options.slots)]
    per_expert = {
        "wall_ms": 1000 * slope(most, "seconds"),
        "driver_cpu_ms": 1000 * slope(most, "driver_cpu_seconds"),
        "driver_kib": 1024 * slope(most, "driver_mib"),
        "check_ms": 1000 * slope(buffers, "check_seconds"),
        "table_ms": 1000 * slope(buffers, "table_seconds"),
    }
    print(json.dumps({"scheduler": rows, "buffers": buffers, "per_expert": per_expert}))


if __name__ == "__main__":
    main()
