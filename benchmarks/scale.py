"""What one expert more costs: the scheduler with stub work on 64 slots, and a buffer of many small experts.

    python benchmarks/scale.py [--experts 250 500 1000] [--slots 16 64] [--raylets 4]

A cluster of a few raylets offers as many logical CPUs as 64 nodes with one task each would; one raylet per node would
not fit on one machine. Every job goes through the real `RayExecutor` to an actor of its own slot, reports three times
and does nothing. Each measurement is a driver process of its own, so that its peak memory is its own. The slope over
the number of experts is what one costs once all workers are up. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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
    """A job without work."""

    number: int

    @property
    def key(self) -> str:
        """Its name."""
        return f"expert {self.number}"


def stub(job: Stub, sink: ProgressSink) -> str:
    """Report as an expert of two epochs would."""
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


def drive(address: str, experts: int, slots: int) -> dict[str, Any]:
    """Run the stubs from this process and measure it."""
    import ray

    from ast_ray.distributed import executor as module
    from ast_ray.distributed.session import Capacity

    looks = 0
    forward = module.forward

    def counted(board: Any, sink: Any) -> None:
        nonlocal looks
        looks += 1
        forward(board, sink)

    module.forward = counted
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    before = ray.available_resources().get("object_store_memory", 0.0)
    sink, times, cpu = Counting(), [], time.process_time()
    began = time.monotonic()
    for _ in module.RayExecutor(Capacity(1, 0, slots), sink).run(stub, [Stub(number) for number in range(experts)]):
        times.append(time.monotonic() - began)
    total = time.monotonic() - began
    used = before - ray.available_resources().get("object_store_memory", before)
    return {
        "experts": experts,
        "slots": slots,
        "seconds": total,
        "first_result_seconds": times[0],
        "driver_cpu_seconds": time.process_time() - cpu,
        "driver_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "object_store_bytes": used,
        "updates_seen": sink.updates,
        "looks_at_the_board": looks,
    }


def timed(action: Callable[[], Any]) -> float:
    """Seconds an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def buffer_costs(experts: int, folder: Path) -> dict[str, Any]:
    """Write and open a buffer of small experts."""
    from ast_ray.store.buffer import Buffer
    from ast_ray.store.trajectory import TrajectoryWriter

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
        "table_seconds": timed(buffer.summaries),
        "segment_seconds": timed(lambda: buffer.segment(experts - 1, 10, 2)),
        "marker_bytes": buffer.marker.stat().st_size,
        "bytes": sum(path.stat().st_size for path in buffer.folder.iterdir()),
    }


def slope(rows: list[dict[str, Any]], name: str) -> float:
    """Least-squares growth per expert."""
    return float(np.polyfit([row["experts"] for row in rows], [row[name] for row in rows], 1)[0])


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One driver process per size, on one cluster."""
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
            for experts in options.experts if slots == most else [max(options.experts)]:
                command = [sys.executable, __file__, "--drive", cluster.address, str(experts), str(slots)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    finally:
        cluster.shutdown()
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--slots", type=int, nargs="+", default=[16, 64], help="slopes are those of the most")
    parser.add_argument("--raylets", type=int, default=4)
    parser.add_argument("--drive", nargs=3, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update({"RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"})
    if options.drive:
        address, experts, slots = options.drive
        print(json.dumps(drive(address, int(experts), int(slots))))
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
        "driver_kib": 1024 * slope(most, "driver_peak_mib"),
        "check_ms": 1000 * slope(buffers, "check_seconds"),
        "table_ms": 1000 * slope(buffers, "table_seconds"),
    }
    print(json.dumps({"scheduler": rows, "buffers": buffers, "per_expert": per_expert}))


if __name__ == "__main__":
    main()
