"""``ast-ray report RUN...``: one self-contained page of one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from ast_ray.cli.errors import reported
from ast_ray.cli.streams import say_json
from ast_ray.errors import AstRayError
from ast_ray.report.page import render
from ast_ray.report.reading import RunRecord, read_run
from ast_ray.store import mirror
from ast_ray.store.atomic import write_text
from ast_ray.telemetry.run_directory import RunDirectory


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", metavar="FILE", help="the page; default: report.html in the RUN")
@click.option(
    "--features/--no-features", default=True, show_default=True, help="compute the chart of features (Fig. 10)"
)
@click.option("--json", "as_json", is_flag=True, help="where the page is, as JSON on stdout, nothing else there")
def report(runs: tuple[str, ...], out: str | None, features: bool, as_json: bool) -> None:
    """Write one HTML page that shows the images, curves, experts and tables of finished or unfinished runs.

    The page needs no network and no other file. With several runs it starts with a table that sets them side by side
    and goes to report.html in the current folder.
    """
    with reported(Console(stderr=True), as_json=as_json, resume=str):
        places = [mirror.view(run) for run in runs]
        target = mirror.view(out) if out else RunDirectory(places[0]).report if len(runs) == 1 else Path("report.html")
        records, notes = _records(places, features=features)
        page = render(records, notes=notes)
        write_text(target, page)
        size = len(page.encode())
        if as_json:
            say_json({"report": mirror.shown(target.resolve()), "bytes": size})
        else:
            click.echo(f"report: {mirror.shown(target)} ({size / 2**20:.1f} MiB)")


def _records(runs: Sequence[Path], *, features: bool) -> tuple[list[RunRecord], dict[str, list[str]]]:
    """Read every run before any work; then the features of those that miss them, where it can be done."""
    records, notes = [read_run(path) for path in runs], {}
    for place, record in enumerate(records):
        if not (features and record.methods):
            continue
        try:
            _compute_features(record)
        except AstRayError as error:
            if record.features is None:
                notes[str(record.path)] = [f"Features of the images are not shown: {error}"]
        records[place] = read_run(record.path)
    return records, notes


def _compute_features(record: RunRecord) -> None:
    """Torch is imported here and only when it is needed."""
    from ast_ray.stages.context import real_data, resolve_device
    from ast_ray.stages.pipeline import Plan
    from ast_ray.stages.report_inputs import write_features

    data = real_data(record.config.data, resolve_device(record.config.compute))
    write_features(Plan(record.config, data, RunDirectory(record.path.resolve())), record.methods[0].name)
