"""``ast-ray report RUN...``: one self-contained page of one or several runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ast_ray.cli.errors import explained, reported
from ast_ray.cli.options import given_settings, some_settings
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal, echo
from ast_ray.config import Config, apply_overrides, check, to_dict
from ast_ray.config.methods import matched_methods
from ast_ray.config.ownership import check_source, from_elsewhere
from ast_ray.errors import AstRayError
from ast_ray.report.page import MARK, render
from ast_ray.report.records import RunRecord, read_run
from ast_ray.storage.atomic import write_text
from ast_ray.storage.folder import Folder
from ast_ray.storage.replaced import check_own
from ast_ray.storage.run_directory import RunDirectory


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", metavar="FILE", help="the page; default: report.html in the RUN")
@click.option(
    "--features/--no-features", default=True, show_default=True, help="compute the chart of features (Fig. 10)"
)
@click.option("--json", "as_json", is_flag=True, help="where the page is, as JSON on stdout, nothing else there")
@some_settings("data.source", "data.root", "data.download", "compute.store", "compute.device")
def report(runs: tuple[str, ...], out: str | None, features: bool, as_json: bool, **options: Any) -> None:
    """Write one HTML page that shows the images, curves, experts and tables of finished or unfinished runs.

    The page needs no network and no other file. With several runs it starts with a table that sets them side by side
    and goes to report.html in the current folder. A run does not decide where the report looks: experts outside it
    (--store), images named by a path (--source) and downloads (--download) are asked for here.
    """
    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        given = given_settings(options)
        check(apply_overrides(Config(), given))
        places = [RunDirectory.open_read_only(run).path for run in runs]
        beside = RunDirectory(places[0]).report if len(runs) == 1 else Path("report.html")
        target = Folder.open_read_only(out).path if out else beside
        if not out and len(runs) > 1:  # beside files that are not a run's
            check_own(target, MARK, "--out")
        records, notes = _records(places, given, features=features)
        page = render(records, notes=notes)
        write_text(target, page)
        size = len(page.encode())
        if as_json:
            say_json({"report": str(Folder(target.resolve())), "bytes": size})
        else:
            echo(f"report: {Folder(target)} ({size / 2**20:.1f} MiB)")


def _records(
    runs: Sequence[Path], given: Mapping[str, Any], *, features: bool
) -> tuple[list[RunRecord], dict[str, list[str]]]:
    """Read every run before any work; then the features of those that miss them, where it can be done."""
    store = str(given.get("compute.store", ""))
    records = [read_run(path, store=store) for path in runs]
    notes = {str(record.path): _elsewhere(record, store) for record in records}
    for place, record in enumerate(records):
        if not (features and record.methods):
            continue
        try:
            _compute_features(record, given)
        except (AstRayError, OSError) as error:  # a cache that may not be read takes the features, not the page
            if record.features is None:
                notes[str(record.path)].append(f"Features of the images are not shown: {explained(error).message}")
        records[place] = read_run(record.path, store=store)
    return records, notes


def _elsewhere(record: RunRecord, store: str) -> list[str]:
    """Say that the experts of a run lie outside of it, where the report looked for none."""
    named = record.config.compute.store
    if not named or store or any(method.experts for method in record.methods):
        return []
    return [f"The experts lie outside of the run and are not shown; --store {shlex.quote(named)} shows them."]


def _compute_features(record: RunRecord, given: Mapping[str, Any]) -> None:
    """Torch is imported here and only when it is needed."""
    from ast_ray.stages.device import real_data, resolve_device
    from ast_ray.stages.run.pipeline import Plan
    from ast_ray.stages.tools.features import has_features, write_features

    directory, methods = RunDirectory(record.path.resolve()), matched_methods(record.config)
    if not methods:
        return  # features are an expert's
    method = methods[0]
    if has_features(directory, record.config, method, str(record.manifest.get("data_id", ""))):
        return
    config = from_elsewhere(to_dict(record.config), given)
    check_source(config, given)
    data = real_data(config.data, resolve_device(config.compute))
    write_features(Plan(config, data, directory), method)
