"""The trajectory store: reading a segment, opening 50 experts, and the error of experts stored as bf16.

    python benchmarks/store.py [--experts 50] [--parameters 320010] [--rounds 30] [--folder DIR]

Experts of float32 noise (3.3 GB at the defaults: the 32x32 ConvNet-3 of width 128, epochs 0..50) are written to a
temporary folder. A segment (M = 2: three epochs) is read by `Buffer.segment` and, in turns, by copying the same bytes
out of a numpy memory map; ``first`` is the first read in a process, which verifies checksums. Files are in the page
cache. Opening (whose experts these are, which are missing, their curves) runs in a process of its own, whose memory is
what it gained over the imports. The bf16 error is that of experts trained on digits. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from measure import alternate, finish, ratio, spread, told

from ast_ray.config import Config, apply_overrides
from ast_ray.config.presets import preset
from ast_ray.core.experts.training import train_expert
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.training import score
from ast_ray.stages.device import real_data
from ast_ray.stages.experts.train import expert_network
from ast_ray.storage import trajectory
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.trajectory import Storage, TrajectoryWriter

EPOCHS, M = 50, 2
IDENTITY = {"benchmark": "store", "expert": {"epochs": EPOCHS}}
ROW = {"train_loss": 1.0, "penalty": 0.5, "validation_accuracy": 0.5, "move": 2.0}


def fill(folder: Path, experts: int, parameters: int) -> Buffer:
    """Write experts of noise."""
    buffer, generator = Buffer(folder, IDENTITY, experts), np.random.default_rng(0)
    buffer.prepare()
    for expert_id in range(experts):
        metadata = {"fingerprint": buffer.fingerprint, "expert_id": expert_id, "identity": IDENTITY}
        with TrajectoryWriter.create(buffer.path(expert_id), parameters, metadata) as writer:
            for epoch in range(EPOCHS + 1):
                writer.append(epoch, generator.standard_normal(parameters, np.float32), ROW)
    return buffer


class Raw:
    """The same bytes through a numpy memory map alone."""

    def __init__(self, buffer: Buffer, parameters: int) -> None:
        self._maps = [np.memmap(buffer.path(number), np.uint8, mode="r") for number in range(len(buffer))]
        self._size = 4 * parameters
        self._ends = []
        for number in range(len(buffer)):
            with pq.ParquetFile(buffer.path(number)) as file:
                chunks = [file.metadata.row_group(epoch).column(1) for epoch in range(EPOCHS + 1)]
            self._ends.append([chunk.data_page_offset + chunk.total_compressed_size for chunk in chunks])

    def segment(self, expert_id: int, start: int, length: int) -> list[torch.Tensor]:
        """Copy ``length + 1`` epochs."""
        ends = self._ends[expert_id][start : start + length + 1]
        return [torch.from_numpy(np.array(self._maps[expert_id][end - self._size : end].view("<f4"))) for end in ends]


def segments(buffer: Buffer, parameters: int, rounds: int) -> dict[str, Any]:
    """Both sides in turns, each over every expert at a start epoch of its own."""
    raw = Raw(buffer, parameters)
    wanted = [(number, (7 * number) % (EPOCHS - M)) for number in range(len(buffer))]
    same = all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(buffer.segment(*wanted[-1], M), raw.segment(*wanted[-1], M), strict=True)
    )
    assert same, "the two sides read different bytes"

    def first() -> None:
        trajectory._open_files.clear()
        for place in wanted:
            buffer.segment(*place, M)

    sides = {
        "raw": lambda: [raw.segment(*place, M) for place in wanted],
        "ours": lambda: [buffer.segment(*place, M) for place in wanted],
    }
    times = alternate(sides, rounds)
    times_first = alternate({"raw": sides["raw"], "first": first}, max(3, rounds // 5))
    size = len(wanted) * (M + 1) * 4 * parameters / 1e9
    found = {
        "bandwidth_gb_per_s": {name: size / float(np.median(values)) for name, values in times.items()},
        "ours_over_raw": ratio(times["raw"], times["ours"]),
        "first_over_raw": ratio(times_first["raw"], times_first["first"]),
        "first_gb_per_s": size / float(np.median(times_first["first"])),
    }
    print(f"segment, raw map  {spread(times['raw'])} for {len(wanted)} segments, {size:.2f} GB")
    print(f"segment, ours     {spread(times['ours'])}; bandwidth {told(found['ours_over_raw'])} of the raw map's")
    print(f"first read        {spread(times_first['first'])}; bandwidth {told(found['first_over_raw'])}")
    return found


def open_store(folder: Path, experts: int) -> dict[str, float]:
    """Open, in this process: seconds and MiB gained."""
    buffer = Buffer(folder, IDENTITY, experts)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before, began = _resident("VmRSS"), time.perf_counter()
    buffer.check()
    assert buffer.missing() == []
    checked = time.perf_counter()
    assert len(buffer.summaries()) == experts
    done = time.perf_counter()
    return {"seconds": done - began, "check_seconds": checked - began, "mib": _resident("VmHWM") - before}


def _resident(name: str) -> float:
    """Resident memory now (VmRSS) or at its peak (VmHWM), in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def opening(folder: Path, experts: int, rounds: int) -> dict[str, Any]:
    """Each round in a fresh process."""
    command = [sys.executable, __file__, "--open", str(folder), "--experts", str(experts)]
    rows = []
    for _ in range(rounds):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    size = sum(path.stat().st_size for path in folder.glob("*.parquet")) / 1e9
    found = {name: [row[name] for row in rows] for name in rows[0]}
    middle = {name: float(np.median(values)) for name, values in found.items()}
    print(
        f"open {experts} experts, {size:.2f} GB: {spread(found['seconds'])}, of which "
        f"{middle['check_seconds']:.4f} s to check whose they are; {middle['mib']:.1f} MiB (median of {rounds})"
    )
    return {"experts": experts, "gb": size, **found}


def rounding(folder: Path, epochs: int) -> dict[str, Any]:
    """Train one expert on digits, store it both ways, and compare what is read."""
    root = {"data.root": str(folder / "cache"), "expert.epochs": epochs, "distill.max_start_epoch": 2}
    config: Config = apply_overrides(preset("digits"), root)
    data = real_data(config.data, torch.device("cpu"))
    network = expert_network(config, data, 0)
    spec = FlatSpec.of(network)
    images, labels = data.train_images, data.train_labels
    records = list(train_expert(network, images, labels, config.expert, seed=0, expert_id=0))
    read, sizes, times = {}, {}, {}
    ways: tuple[Storage, ...] = ("float32", "bf16")
    for storage in ways:
        path = folder / f"{storage}.parquet"
        with TrajectoryWriter.create(path, spec.numel, {}, storage=storage) as writer:
            for record in records:
                writer.append(record.epoch, record.theta.numpy(), ROW)
        read[storage] = trajectory.read_segment(path, range(epochs + 1))
        sizes[storage] = path.stat().st_size

    def late(storage: Storage) -> object:
        return trajectory.read_segment(folder / f"{storage}.parquet", range(epochs - M, epochs + 1))

    times = alternate({"float32": lambda: late("float32"), "bf16": lambda: late("bf16")}, 20)
    exact, rounded = np.stack(read["float32"]), np.stack(read["bf16"])
    moves = np.linalg.norm(exact[1:] - exact[:-1], axis=1)
    errors = np.linalg.norm(rounded[1:] - exact[1:], axis=1) / moves
    accuracies = []
    for theta in (exact[-1], rounded[-1]):
        load(network, spec, torch.from_numpy(theta))
        accuracies.append(score(network, data.test_images, data.test_labels).accuracy)
    found = {
        "parameters": spec.numel,
        "epochs": epochs,
        "error_over_move": {"mean": float(errors.mean()), "max": float(errors.max())},
        "error_over_weights_max": float(
            (np.linalg.norm(rounded - exact, axis=1) / np.linalg.norm(exact, axis=1)).max()
        ),
        "test_accuracy": {"float32": accuracies[0], "bf16": accuracies[1]},
        "bytes": sizes,
        "late_segment": ratio(times["float32"], times["bf16"]),
    }
    print(
        f"bf16, P = {spec.numel}, {epochs} epochs: error / epoch's move mean {errors.mean():.2e}, max "
        f"{errors.max():.2e}; {sizes['bf16'] / sizes['float32']:.2f} of the bytes; test accuracy {accuracies[1]:.4f} "
        f"(exact {accuracies[0]:.4f}); segment at the last epochs {told(found['late_segment'])}"
    )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, default=50)
    parser.add_argument("--parameters", type=int, default=320010)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=20, help="of the expert trained for the bf16 error")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(open_store(options.open, options.experts)))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        rounding_found = rounding(folder, options.epochs)
        buffer = fill(folder / "experts", options.experts, options.parameters)
        opening_found = opening(buffer.folder, options.experts, 5)
        found = segments(buffer, options.parameters, options.rounds)
    finish("store", {"segment": found, "opening": opening_found, "bf16": rounding_found})


if __name__ == "__main__":
    main()
