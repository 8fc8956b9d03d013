"""``ast-ray presets``: what there is to start from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from ast_ray.cli.data import size_text
from ast_ray.cli.errors import reported
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal
from ast_ray.config import ComputeConfig, Config, to_dict, to_yaml
from ast_ray.config.presets import PRESETS, cost, facts_of_preset, paper_accuracy, preset

if TYPE_CHECKING:
    from ast_ray.stages.device import Hardware


@click.group()
def presets() -> None:
    """List the presets, or show one whole."""


@presets.command("list")
@click.option("--time", "timed", is_flag=True, help="also how long a run would take here; measures for some seconds")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def list_presets(timed: bool, as_json: bool) -> None:
    """Names, published accuracy, and what a run would need (estimates)."""
    hardware = _measured() if timed else None
    rows = {name: _row(function, hardware) for name, function in PRESETS.items()}
    if as_json:
        say_json(rows)
        return
    title = f"{len(rows)} presets; memory: an estimate"
    if hardware is not None:
        note = "memory and time: estimates from counted arithmetic, low for small networks"
        title = f"{hardware.workers} x {hardware.device}, {hardware.rate / 1e9:.0f} GFLOP/s each; {note}"
    table = Table(title=title)
    table.add_column("preset", no_wrap=True)
    for name in ("published %", "memory", "disk", *(("time",) if timed else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in rows.items():
        reported_accuracy = "" if row["paper"] is None else f"{row['paper'][0]} ± {row['paper'][1]}"
        cells = [size_text(row["memory_bytes"]), size_text(row["disk_bytes"])]
        cells += [duration_text(row["seconds"])] if timed else []
        table.add_row(name, reported_accuracy, *cells)
    console = Terminal()
    console.print(table)
    if not timed:
        console.print("how long each would take on this machine: ast-ray presets list --time", highlight=False)
    console.print("one whole preset with the sources of its values: ast-ray presets show NAME", highlight=False)


def _measured() -> Hardware:
    """Loads torch, and times it."""
    from ast_ray.stages.device import measure

    return measure(ComputeConfig())


def _row(function: Callable[[], Config], hardware: Hardware | None) -> dict[str, Any]:
    """Return a preset's row of the list; memory and seconds, which need the hardware, are estimates."""
    config = function()
    needed = cost(config, facts_of_preset(config))
    what = (inspect.getdoc(function) or "").splitlines()[0]
    row = {
        "what": what.partition(" (")[0].rstrip("."),
        "paper": paper_accuracy(config.preset),
        "memory_bytes": needed.memory,
        "disk_bytes": needed.disk,
    }
    if hardware is None:
        return row
    methods = len(config.run.methods)
    return {**row, "seconds": needed.seconds(hardware.rate, workers=hardware.workers, methods=methods)}


def duration_text(seconds: float) -> str:
    """Seconds as a person reads them."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


@presets.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def show_preset(name: str, as_json: bool) -> None:
    """Every setting of a preset as YAML, with the sources of its values."""
    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        config = preset(name)
        if as_json:
            say_json(to_dict(config))
            return
        for line in (inspect.getdoc(PRESETS[name]) or "").splitlines():
            click.echo(f"# {line}".rstrip())
        click.echo(to_yaml(config), nl=False)
