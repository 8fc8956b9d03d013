"""Whether engine or precision change the accuracy: the digits preset distilled with each, seed by seed.

    python benchmarks/engines.py [--seeds 5] [--engines eager compiled compiled-bf16 all-bf16] [--out runs/engines]

Every seed trains its own experts, by autograd in float32 and shared but for ``all-bf16``, whose experts are those of
the compiled step in bfloat16. The last line is JSON. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from measure import finish

BF16 = ["--engine", "compiled", "--precision", "bf16"]
ENGINES = {
    "eager": ["--engine", "eager"],
    "compiled": ["--engine", "compiled"],
    "compiled-bf16": BF16,
    "all-bf16": [*BF16, "--expert-engine", "compiled", "--expert-precision", "bf16"],
}


def distilled(seed: int, engine: str, out: Path) -> float:
    """Test accuracy (mean over networks) of the set that this engine distils for this seed."""
    place = out / f"{engine}-{seed}"
    command = [sys.executable, "-m", "ast_ray", "run", "--preset", "digits", "--out", str(place), "--json"]
    command += ["--seed", str(seed), *ENGINES[engine], "--methods", "ast", "--baselines", "none"]
    command += ["--backend", "serial", "--store", str(out / "experts")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rows = json.loads(done.stdout)["rows"]
    found: float = next(row["mean"] for row in rows if row["set"] == "ast")
    used = json.loads((place / "distill" / "ast" / "outcome.json").read_text(encoding="utf-8"))["engine"]
    if used != ENGINES[engine][1]:
        raise SystemExit(f"asked for {engine}, used {used}")
    return found


def main() -> None:
    """Run, print and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--out", type=Path, default=Path("runs/engines"))
    options = parser.parse_args()
    found: dict[str, list[float]] = {engine: [] for engine in options.engines}
    for seed in range(options.seeds):
        for engine in options.engines:
            found[engine].append(distilled(seed, engine, options.out))
            print(f"seed {seed}, {engine}: {found[engine][-1]:.2%}", flush=True)
    for engine, values in found.items():
        print(f"{engine:10} {statistics.mean(values):.2%} +- {statistics.stdev(values):.2%} over {len(values)} seeds")
    first, *others = found
    gaps = {name: [mine - theirs for mine, theirs in zip(found[name], found[first], strict=True)] for name in others}
    for name, values in gaps.items():
        print(f"{name} - {first}: mean {statistics.mean(values):+.2%}, from {min(values):+.2%} to {max(values):+.2%}")
    finish("engines", {"accuracy": found, "gaps": gaps})


if __name__ == "__main__":
    main()
