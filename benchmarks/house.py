"""Count what makes the package easy or hard to read, and hold a refactoring against the bytes it must not change.

    python benchmarks/house.py figures [--root PATH]
    python benchmarks/house.py golden FILE

`figures` reads the sources in ``PATH/ast_ray`` and prints JSON. `golden` runs both methods at the smallest size, with
and without segments, and hashes every artefact and the identities of all presets: where FILE does not exist it is
written, else it is compared and the exit code is 1 when anything differs. Hashes of artefacts hold on one kind of
processor with one version of torch only, so they are taken before and after a change on the same machine.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # found also where the repository is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STORAGE = ("store", "storage")
ADDRESSES = ("mirror", "object_store", "remote", "location", "is_address", "parse_address", "address_of")
INTERROGATIVE = ("What", "Where", "Whether", "How", "Which", "Who", "Whose", "When", "Why")


def figures(root: Path) -> dict[str, Any]:
    """Return the counts for the package under ``root``."""
    trees = {module_name(path, root): ast.parse(path.read_text()) for path in sources(root)}
    lines = {module_name(path, root): len(path.read_text().splitlines()) for path in sources(root)}
    imports = {name: set(imported(name, tree, trees)) for name, tree in trees.items()}
    packages: dict[str, set[str]] = {}
    for name, found in imports.items():
        packages.setdefault(floor(name), set()).update(map(floor, found))
    own = [size for name, size in lines.items() if size > 3]
    return {
        "files": len(lines),
        "lines": sum(lines.values()),
        "median module": statistics.median(own),
        "largest module": max(own),
        "modules under 60 lines": sum(size < 60 for size in own),
        "private functions used once": used_once(trees),
        "address calls above storage": sum(
            address_calls(tree) for name, tree in trees.items() if floor(name).rpartition(".")[2] not in STORAGE
        ),
        "circles of modules": circles(imports),
        "circles of packages": circles(packages),
        **settings(root),
        "interrogative first words": sum(1 for tree in trees.values() for _ in interrogative(tree)),
        "parallel assignments of more than two": sum(1 for tree in trees.values() for _ in parallel(tree)),
        "seconds of --help": start_up(root),
    }


def sources(root: Path) -> list[Path]:
    """Return the package's modules."""
    return sorted((root / "ast_ray").rglob("*.py"))


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name under which a file is imported."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(name: str) -> str:
    """Return the package right below ``ast_ray`` that a module lies in."""
    return ".".join(name.split(".")[:2])


def imported(name: str, tree: ast.Module, known: Mapping[str, object]) -> Iterator[str]:
    """Yield modules of the package that ``name`` imports anywhere but for type checking alone."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        else:
            candidates = [f"{node.module}.{alias.name}" for alias in node.names]
        for candidate in candidates:
            target = candidate if candidate in known else candidate.rpartition(".")[0]
            if target in known and target != name:
                yield target


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the sets of nodes that reach each other."""
    reached = {node: reachable(graph, node) for node in graph}
    found = {tuple(sorted(other for other in reached[node] if node in reached.get(other, ()))) for node in graph}
    return [list(group) for group in sorted(found) if len(group) > 1]


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Return the nodes that edges lead to from ``start``, which is one of them only in a circle."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def used_once(trees: Mapping[str, ast.Module]) -> int:
    """Count functions and methods with a leading underscore whose name stands once outside of its definition."""
    total = 0
    for tree in trees.values():
        names = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        private = [
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("_")
            and not node.name.startswith("__")
        ]
        total += sum(names[name] == 1 for name in private)
    return total


def address_calls(tree: ast.Module) -> int:
    """Count calls of what tells addresses from folders."""
    total = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            target = node.func
            owner = target.value if isinstance(target, ast.Attribute) else target
            total += isinstance(owner, ast.Name) and owner.id in ADDRESSES
    return total


def settings(root: Path) -> dict[str, int]:
    """Count settings, and those whose 0 or empty text stands for something else."""
    program = (
        "import json\n"
        "from ast_ray.config.schema import schema\n"
        "print(json.dumps([[one.doc, one.default] for one in schema().values()]))"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    marks = ("0 = ", "0 for ", "empty = ", "empty: ", "none = ")
    hidden = sum(default in (0, "") and any(mark in doc for mark in marks) for doc, default in found)
    return {"settings": len(found), "sentinels": hidden}


def interrogative(tree: ast.Module) -> Iterator[str]:
    """Yield first lines of docstrings that begin with a question word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if text.split(" ")[0].rstrip(",:") in INTERROGATIVE:
                yield text.splitlines()[0]


def parallel(tree: ast.Module) -> Iterator[int]:
    """Yield lines that give values to more than two targets at once, side by side."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and len(target.elts) > 2:
                    yield node.lineno


VARIANTS: Mapping[str, Mapping[str, object]] = {
    "plain": {},
    "segments": {"distill.segments": 3},
    "batches": {"distill.ipc": 2, "distill.batch_size": 7, "distill.outer": "sgd", "evaluate.protocols": "strict,peak"},
}
TINY: Mapping[str, object] = {
    "data.train_size": 100,
    "network.width": 4,
    "network.depth": 1,
    "expert.count": 2,
    "expert.epochs": 3,
    "distill.iterations": 6,
    "distill.syn_steps": 3,
    "distill.max_start_epoch": 2,
    "distill.validate_every": 3,
    "distill.checkpoint_every": 2,
    "distill.log_every": 1,
    "evaluate.passes": 5,
    "evaluate.networks": 2,
    "evaluate.full_epochs": 1,
    "evaluate.full_steps": 0,
    "compute.backend": "serial",
}
KEPT = ("initial", "last", "synthetic.safetensors", "outcome", "metrics", "buffer", "expert-")


def golden(file: Path) -> int:
    """Write the hashes, or compare them; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"presets": preset_identities(), **artefacts(Path(folder))}
    if not file.exists():
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(f"{len(found)} parts, {sum(map(len, found.values()))} hashes written to {file}")
        return 0
    before = json.loads(file.read_text())
    names = {(part, name) for content in (before, found) for part, values in content.items() for name in values}
    moved = sorted(
        f"{part} {name}" for part, name in names if before.get(part, {}).get(name) != found.get(part, {}).get(name)
    )
    print("\n".join(moved) or f"all {len(names)} hashes are those of {file}")
    return int(bool(moved))


def preset_identities() -> dict[str, str]:
    """Return the fingerprint of every preset's sets."""
    from ast_ray.config.identity import fingerprint, method_identity
    from ast_ray.config.presets import PRESETS, method_config

    return {
        f"{name} {method}": fingerprint(method_identity(method_config(build(), method), "golden"))
        for name, build in PRESETS.items()
        for method in ("ast", "mtt")
    }


def artefacts(folder: Path) -> dict[str, dict[str, str]]:
    """Run every variant through the command line; return hashes by the path in the run directory."""
    found = {}
    for name, own in VARIANTS.items():
        run = folder / name
        given = {"data.root": folder / "images", **TINY, **own}
        words = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "ast_ray", "run", "--preset", "digits", "--out", str(run), *words]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        found[name] = {
            str(path.relative_to(run)): digest(path, run) for path in sorted(run.rglob("*")) if kept(path, run)
        }
    return found


def kept(path: Path, run: Path) -> bool:
    """Return whether a file has the same bytes in every run."""
    inside = path.relative_to(run).parts
    if not path.is_file() or inside[0] not in ("experts", "distill", "evaluation"):
        return False
    return path.suffix == ".json" if inside[0] == "evaluation" else path.name.startswith(KEPT)


def digest(path: Path, run: Path) -> str:
    """Hash a file; of a row of the evaluation, what is no time and no checksum."""
    content = path.read_bytes()
    if path.parent == run / "evaluation":
        row = {name: value for name, value in json.loads(content).items() if name not in ("seconds", "checksum")}
        content = json.dumps(row, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def start_up(root: Path) -> float:
    """Return the least of five times of ``ast-ray --help``, in seconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ast_ray", "--help"], cwd=root, capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    return round(min(times), 3)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    counting = commands.add_parser("figures")
    counting.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    holding = commands.add_parser("golden")
    holding.add_argument("file", type=Path)
    given = parser.parse_args()
    if given.command == "golden":
        return golden(given.file)
    print(json.dumps(figures(given.root), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
