"""The command line: ``python -m benchmarks.odd_datasets list | make | run | render``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ast_ray.errors import AstRayError
from benchmarks.odd_datasets.catalogue import OddSet, chosen, make
from benchmarks.odd_datasets.measuring import Place, measure, package_version, trial_row
from benchmarks.odd_datasets.results import RESULTS, append_row, is_measured, newest, read_rows
from benchmarks.odd_datasets.writing import digest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that runs end with the measurement
    try:
        return int(options.command(options) or 0)
    except AstRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _list(options: argparse.Namespace) -> None:
    found = newest(read_rows(options.results))
    for odd in chosen(()):
        state = found[odd.name]["verdict"] if odd.name in found else "not measured"
        print(f"{odd.name:22} {state:13} {odd.oddity}")


def _make(options: argparse.Namespace) -> None:
    for odd in _possible(options):
        print(make(odd, Path(options.folder).expanduser(), seed=options.seed, cifar10=options.cifar10))


def _run(options: argparse.Namespace) -> None:
    sets, work = (Path(path).expanduser().resolve() for path in (options.sets, options.work))
    place = Place(sets, work, 60 * options.minutes, options.threads, options.iterations, options.shared)
    rows = [] if place.iterations else read_rows(options.results)
    version = package_version() if options.again else ""
    todo = []
    for odd in _possible(options):
        make(odd, sets, seed=options.seed, cifar10=options.cifar10)
        if not is_measured(rows, odd.name, digest(sets / odd.name), version):
            todo.append(odd)
    print(f"{len(todo)} sets to run", file=sys.stderr)
    for row in measure(todo, place, at_once=options.at_once):
        if not place.iterations:
            append_row(options.results, row)
        print(trial_row(row), file=sys.stderr)


def _possible(options: argparse.Namespace) -> list[OddSet]:
    """The sets asked for, without those that need CIFAR-10 where it is missing."""
    kept = []
    for odd in chosen(options.names):
        if odd.needs_cifar10 and options.cifar10 is None:
            print(f"{odd.name}: left out, it needs CIFAR-10 as Parquet (--cifar10, AST_RAY_CIFAR10)", file=sys.stderr)
        else:
            kept.append(odd)
    return kept


def _render(options: argparse.Namespace) -> int:
    from benchmarks.odd_datasets.rendering import PAGE, page

    text = page(read_rows(options.results))
    if options.check:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE.name} {'is' if same else 'is not'} what the results file says")
        return 0 if same else 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    root = argparse.ArgumentParser(prog="python -m benchmarks.odd_datasets", description=__doc__)
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        added.add_argument("--results", type=Path, default=RESULTS, help="the results file (JSON lines)")
        return added

    command("list", _list, "every set, how its last measurement ended, and what is odd about it")
    making = command("make", _make, "write sets into a folder and print their paths")
    making.add_argument("folder", metavar="FOLDER")
    _add_sets(making)
    run = command("run", _run, "run ast-ray on every set that has no row yet and append the rows")
    _add_sets(run)
    run.add_argument("--sets", default="runs/odd-data/sets", metavar="DIR", help="where the sets are written")
    run.add_argument("--work", default="runs/odd-data/runs", metavar="DIR", help="where the run directories lie")
    run.add_argument("--minutes", type=float, default=30, help="time limit of one set")
    run.add_argument("--threads", type=int, default=1, help="torch threads of one run")
    run.add_argument("--at-once", type=int, default=1, help="sets that run side by side")
    run.add_argument("--shared", action="store_true", help="the machine does other work besides: show no times")
    run.add_argument("--again", action="store_true", help="run sets too whose rows are of another package version")
    run.add_argument("--iterations", type=int, default=0, help="a trial of so few iterations; no row is appended")
    render = command("render", _render, "write docs/odd-data.md from the results file")
    render.add_argument("--check", action="store_true", help="compare instead; exit code 1 when it differs")
    return root


def _add_sets(parser: argparse.ArgumentParser) -> None:
    named = os.environ.get("AST_RAY_CIFAR10")
    parser.add_argument("names", nargs="*", metavar="SET", help="names from list; none = all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sets")
    parser.add_argument(
        "--cifar10",
        type=Path,
        default=Path(named) if named else None,
        metavar="DIR",
        help="folder of CIFAR-10's Parquet shards; default: the AST_RAY_CIFAR10 environment variable",
    )


if __name__ == "__main__":
    sys.exit(main())
