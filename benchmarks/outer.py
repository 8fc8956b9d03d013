"""One outer default against SGD tuned for each cell: the same experts, seed by seed, on cells of different scale.

    python benchmarks/outer.py --cifar10 path/to/cifar10 --work runs/outer [--cells digits-1 ...] [--seeds 3]
    python benchmarks/outer.py --render

Every cell is distilled with ``distill.outer = normalized`` at its defaults (alpha_0 chosen) and with ``sgd`` at the
rates that were tuned or published for it. Test accuracy is that of the last iteration, strict protocol, a mean over
networks. Rows go to ``benchmarks/results/outer.jsonl`` as they come; a row that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results" / "outer.jsonl"
ARMS = ("normalized", "sgd")

Values = Mapping[str, object]


@dataclass(frozen=True)
class Cell:
    """A preset with changes, the method, and the SGD rates that fit it: lr_img, lr_lr, alpha_0."""

    preset: str
    method: str
    rates: tuple[float, float, float]
    changes: Values = field(default_factory=dict)


_SMALL: Values = {
    "data.train_size": 2000,
    "network.width": 16,
    "expert.count": 3,
    "expert.epochs": 6,
    "expert.lr": 0.003,
    "expert.batch_size": 64,
    "expert.penalty_weight": 0.1,
    "expert.lr_decay_epoch": 0,
    "distill.syn_steps": 10,
    "distill.max_start_epoch": 5,
}
_MIDDLE: Values = {**_SMALL, "data.train_size": 4000, "network.width": 32, "expert.batch_size": 128}
_WIDE: Values = {"data.train_size": 2560, "data.validation_size": 500, "expert.count": 2}
CELLS: dict[str, Cell] = {
    "digits, ipc 1": Cell("digits", "ast", (10, 1e-5, 0.01), {"iterations": 150}),
    "digits, ipc 1, MTT": Cell("digits", "mtt", (10, 1e-5, 0.01), {"iterations": 150}),
    "small base, ipc 1": Cell("cifar10-cpu", "ast", (100, 1e-6, 0.01), {**_SMALL, "iterations": 100}),
    "cifar10-cpu, ipc 1": Cell("cifar10-cpu", "ast", (100, 1e-6, 0.01), {"iterations": 150}),
    "cifar10-ipc1, width 128": Cell("cifar10-ipc1", "ast", (100, 1e-7, 0.01), {**_WIDE, "iterations": 20}),
    "cifar10-cpu, ipc 1, MTT": Cell("cifar10-cpu", "mtt", (100, 1e-7, 0.01), {"iterations": 150}),
    "middle base, ipc 1": Cell("cifar10-cpu", "ast", (100, 1e-6, 0.01), {**_MIDDLE, "iterations": 100}),
    "digits, ipc 10": Cell("digits", "ast", (10, 1e-5, 0.01), {"ipc": 10, "iterations": 60}),
    "small base, ipc 10": Cell("cifar10-cpu", "ast", (100, 1e-6, 0.01), {**_SMALL, "ipc": 10, "iterations": 60}),
    "middle base, ipc 10": Cell("cifar10-cpu", "ast", (100, 1e-6, 0.01), {**_MIDDLE, "ipc": 10, "iterations": 30}),
    "cifar10-ipc10, width 128": Cell(
        "cifar10-ipc10", "ast", (100, 1e-5, 0.001), {**_WIDE, "max_start_epoch": 5, "iterations": 20}
    ),
}
_COMMON: Values = {
    "validate_every": 0,
    "validate_networks": 1,
    "evaluate.networks": 3,
    "evaluate.passes": 300,
    "evaluate.lr_decay_pass": 150,
    "backend": "serial",
    "baselines": "",
}


def command(cell: Cell, arm: str, seed: int, work: Path, cifar10: str) -> list[str]:
    """Return the command line of one run; experts are shared by the arms of a seed."""
    values: dict[str, object] = {**_COMMON, **cell.changes, "methods": cell.method, "seed": seed, "outer": arm}
    if arm == "sgd":
        values.update(zip(("lr_img", "lr_lr", "student_lr"), cell.rates, strict=True))
    else:
        values["student_lr"] = 0
    if cell.preset != "digits":
        values |= {"data.source": cifar10, "data.statistics": "cifar10"}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if name != "baselines"]
    config = work / "no-baselines.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("run:\n  baselines: []\n", encoding="utf-8")
    start = [sys.executable, "-m", "ast_ray", "run", "--preset", cell.preset, "--config", str(config), "--json"]
    return [*start, *words, f"--compute.store={work / 'experts'}"]


def measured(name: str, arm: str, seed: int, work: Path, cifar10: str) -> dict[str, Any]:
    """Distil one cell and return its row; a run that fails has its reason and no accuracy."""
    cell, folder = CELLS[name], work / f"{name}-{arm}-{seed}".replace(", ", "-").replace(" ", "-")
    began = time.monotonic()
    line = [*command(cell, arm, seed, work, cifar10), "--out", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    row: dict[str, Any] = {"cell": name, "outer": arm, "seed": seed, "accuracy": None}
    if done.returncode == 0:
        (found,) = (item for item in json.loads(done.stdout)["rows"] if item["set"] == cell.method)
        outcome = json.loads((folder / "distill" / cell.method / "outcome.json").read_text(encoding="utf-8"))
        row |= {"accuracy": found["mean"], "alpha": outcome["student_lr"], "loss": outcome["relative_loss"]}
        row |= {"skipped": outcome["skipped"], "alpha_0": outcome["coverage"]["student_lr"]}
    else:
        row["reason"] = " ".join(done.stderr.split())[-400:]
    about = {"machine": f"{processor()}, one thread", "date": date.today().isoformat()}
    return {**row, "seconds": round(time.monotonic() - began), **about}


def processor() -> str:
    """Name of the GPU, if there is one, else of the processor with its widest vector unit."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    name = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    vector = next((unit for unit in ("amx", "avx512", "avx2") if unit in text), "")
    return f"{name or platform.machine()} ({vector})"


def rendered(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: accuracy of both arms in per cent, their difference seed by seed, alpha at the end."""
    lines = [
        "| cell | normalized | tuned SGD | difference by seed | alpha, loss (normalized) |",
        "|---|---|---|---|---|",
    ]
    for name in CELLS:
        arms = {arm: {row["seed"]: row for row in rows if (row["cell"], row["outer"]) == (name, arm)} for arm in ARMS}
        if not any(arms.values()):
            continue
        both = sorted(set(arms["normalized"]) & set(arms["sgd"]))
        gaps = [
            f"{100 * (arms['normalized'][seed]['accuracy'] - arms['sgd'][seed]['accuracy']):+.1f}"
            for seed in both
            if None not in (arms["normalized"][seed]["accuracy"], arms["sgd"][seed]["accuracy"])
        ]
        ends = [f"{row['alpha']:.2g}, {row['loss']:.2f}" for row in arms["normalized"].values() if row["accuracy"]]
        cells = [_mean(arms[arm].values()) for arm in ARMS]
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(gaps)} | {'; '.join(ends)} |")
    return "\n".join(lines)


def _mean(rows: Any) -> str:
    found = list(rows)
    values = [100 * row["accuracy"] for row in found if row["accuracy"] is not None]
    ended = f"{len(found) - len(values)} of {len(found)} diverged" if len(values) < len(found) else ""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    mean = f"{statistics.fmean(values):.1f}{spread} (n = {len(values)})" if values else ""
    return ", ".join(part for part in (mean, ended) if part)


def main() -> None:
    """Make the rows that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", default="cifar10", help="where CIFAR-10 lies (a source of `ast-ray run`)")
    parser.add_argument("--work", type=Path, default=Path("runs/outer"))
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.exists() else []
    rows = [json.loads(line) for line in lines]
    if options.render:
        print(rendered(rows))
        return
    known = {(row["cell"], row["outer"], row["seed"]) for row in rows}
    for name in options.cells:
        for seed in range(options.first_seed, options.seeds):
            for arm in ARMS:
                if (name, arm, seed) not in known:
                    row = measured(name, arm, seed, options.work, options.cifar10)
                    with options.results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
