"""``ast-ray info RUN``: what is in a run directory."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from ast_ray.cli.display import results_table, show_verdicts
from ast_ray.cli.errors import missing_lines, reported
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal
from ast_ray.errors import counted
from ast_ray.storage.folder import Folder


@click.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def info(run: str, as_json: bool) -> None:
    """Say what a run directory holds: settings, experts, distilled sets, results, and what is still to do."""
    from ast_ray.stages.run.inspect import describe_run

    console = Terminal()
    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        found = describe_run(Folder.open_read_only(run).path)
        if as_json:
            say_json(found)
            return
        _show(console, found)


def _show(console: Console, found: dict[str, Any]) -> None:
    lines = [
        f"run: {found['run']} (preset {found['preset'] or 'none'}, seed {found['seed']})",
        f"data: {found['data']}, settings in {found['config']}",
    ]
    lines += [
        f"experts {buffer['fingerprint']}: {buffer['experts']} finished, {counted(buffer['epochs'], 'epoch')}, "
        f"Avg_Var {buffer['avg_var']:.4g}, validation accuracy {buffer['validation_accuracy']:.1%}, "
        f"{buffer['bytes'] / 2**20:.1f} MiB"
        for buffer in found["buffers"]
    ]
    lines += [f"{method}: {state}" for method, state in found["methods"].items()]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if found["rows"]:
        console.print(results_table(found["rows"], found["failed"]))
        show_verdicts(console, found["verdicts"])
    for line in missing_lines(found["failed"]):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not found["failed"]:
        text = "finished" if found["finished"] else "not finished: the same command again goes on"
        console.print(text, highlight=False)
