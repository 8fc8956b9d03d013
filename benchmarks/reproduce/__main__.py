"""The command line: ``python -m benchmarks.reproduce list | run | render | slice | merge | pack``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ast_ray.config import ComputeConfig
from ast_ray.errors import AstRayError, ConfigError, Problem
from ast_ray.stages.executor import Executor, SerialExecutor
from benchmarks.reproduce.cells import cells_of
from benchmarks.reproduce.driving import Lines, Place, missing, run_cells
from benchmarks.reproduce.results import RESULTS, ROOT, append_row, read_rows
from benchmarks.reproduce.scales import SCALES
from benchmarks.reproduce.studies import STUDIES

PAGE = ROOT / "docs" / "results.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except AstRayError as error:
        for line in (str(error), *getattr(error, "__notes__", ())):
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code


def _list(options: argparse.Namespace) -> None:
    for study in STUDIES.values():
        print(f"{study.name:10} {study.title}")
        for scale in SCALES:
            if scale in study.bases:
                cells = cells_of([study.name], scale, range(options.seeds))
                left = len(missing(cells, options.results))
                print(f"{'':10}   {scale}: {', '.join(study.bases[scale])}: {len(cells) - left} of {len(cells)} cells")


def _run(options: argparse.Namespace) -> None:
    names = list(STUDIES) if options.studies == ["all"] else options.studies
    if options.studies == ["all"]:
        names = [name for name in names if options.scale in STUDIES[name].bases]
    cells = cells_of(names, options.scale, range(options.seeds), bases=options.base, variants=options.variant)
    place = _place(options)
    todo = missing(cells, place.results)
    sink = Lines(verbose=options.verbose)
    sink.say(f"{len(todo)} of {len(cells)} cells to run")
    if options.dry_run or not todo:
        for cell in todo:
            print(cell.key)
        return
    serial = options.backend == "serial"
    with _executor(options, sink) as executor:
        added = run_cells(cells, place, executor, sink, seconds=60 * options.minutes, at_once=1 if serial else 0)
    sink.say(f"{added} rows added to {place.results}")


@contextmanager
def _executor(options: argparse.Namespace, sink: Lines) -> Iterator[Executor]:
    if options.backend == "serial":
        yield SerialExecutor(sink)
        return
    from ast_ray.ray_backend.session import ray_session

    with ray_session(ComputeConfig(device=options.device, workers=options.workers)) as capacity:
        from ast_ray.ray_backend.executor import RayExecutor

        yield RayExecutor(capacity, sink)


def _place(options: argparse.Namespace) -> Place:
    sources = {}
    for text in options.source:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = "cifar10", text
        if not Path(path).expanduser().exists():
            raise ConfigError([Problem("--source", text, "nothing there; expected PATH or DATASET=PATH")])
        sources[name] = str(Path(path).expanduser().resolve())
    work = Path(options.work).expanduser().resolve()
    return Place(sources, options.root, work, options.results, options.device, options.threads, options.commit)


def _render(options: argparse.Namespace) -> int:
    from benchmarks.reproduce.rendering import page

    text = page(read_rows(options.results))
    if options.check:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE.name} {'is' if same else 'is not'} what the results file says")
        return 0 if same else 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


def _slice(options: argparse.Namespace) -> int:
    from benchmarks.reproduce.slicing import run_slice

    return run_slice(
        [options.study],
        _place(options),
        scale=options.scale,
        bases=options.base,
        variants=options.variant,
        seeds=range(options.seeds),
        seconds=options.seconds,
        out=Path(options.out),
    )


def _merge(options: argparse.Namespace) -> None:
    before = len(read_rows(options.results))
    for file in options.files:
        for row in read_rows(Path(file)):
            append_row(options.results, row)
    print(f"{len(read_rows(options.results)) - before} rows added to {options.results}")


def _pack(options: argparse.Namespace) -> None:
    from benchmarks.reproduce.packing import pack

    for part, files in pack(Path(options.folder), Path(options.out)).items():
        print(f"{part}: {', '.join(files)}")


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    root = argparse.ArgumentParser(prog="python -m benchmarks.reproduce", description=__doc__)
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        added.add_argument("--results", type=Path, default=RESULTS, help="the results file (JSON lines)")
        return added

    listing = command("list", _list, "studies, their bases, and how many cells have a row")
    listing.add_argument("--seeds", type=int, default=5)
    run = command("run", _run, "run the missing cells of studies and append their rows")
    run.add_argument("studies", nargs="+", metavar="STUDY", help="names from list, or all")
    run.add_argument("--backend", choices=("serial", "ray"), default="serial")
    run.add_argument("--workers", type=int, default=0, help="Ray workers; 0 = as many as fit")
    run.add_argument("--minutes", type=float, default=0, help="begin no new cell after this; 0 = no limit")
    run.add_argument("--dry-run", action="store_true", help="name the missing cells, run none")
    run.add_argument("--verbose", action="store_true")
    _add_place(run)
    render = command("render", _render, "write docs/results.md from the results file")
    render.add_argument("--check", action="store_true", help="compare instead; exit code 1 when it differs")
    cut = command("slice", _slice, "run cells without Ray in slices that go on from one another (for a lent GPU)")
    cut.add_argument("study", metavar="STUDY")
    cut.add_argument("--seconds", type=float, default=500, help="length of a slice")
    cut.add_argument("--out", required=True, metavar="DIR", help="where sets, logs and rows to take home go")
    _add_place(cut)
    merging = command("merge", _merge, "add the rows of other results files")
    merging.add_argument("files", nargs="+", metavar="FILE")
    packing = command("pack", _pack, "copy a CIFAR-10 Parquet folder into parts that travel one by one")
    packing.add_argument("folder", metavar="FOLDER")
    packing.add_argument("out", metavar="OUT")
    return root


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", default="cpu", help=f"one of {', '.join(SCALES)}")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0..N-1")
    parser.add_argument("--base", action="append", default=[], help="only this base (repeatable)")
    parser.add_argument("--variant", action="append", default=[], help="only this variant (repeatable)")
    parser.add_argument("--source", action="append", default=[], metavar="[DATASET=]PATH", help="where images lie")
    parser.add_argument("--root", default="~/.cache/ast-ray", help="cache of decoded images")
    parser.add_argument("--work", default="runs/reproduce", help="experts and unfinished cells")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per cell")
    parser.add_argument("--commit", default="", help="commit to write into rows where there is no git")


if __name__ == "__main__":
    sys.exit(main())
