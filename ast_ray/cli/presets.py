"""``ast-ray presets``: what there is to start from."""

from __future__ import annotations

import inspect
import json

import click
from rich.console import Console
from rich.table import Table

from ast_ray.cli.errors import reported
from ast_ray.config import to_dict, to_yaml
from ast_ray.config.presets import PRESETS, preset


@click.group()
def presets() -> None:
    """List the presets, or show one whole."""


@presets.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def list_presets(as_json: bool) -> None:
    """Names and what they are for."""
    rows = {name: inspect.getdoc(function) or "" for name, function in PRESETS.items()}
    if as_json:
        click.echo(json.dumps({name: doc.splitlines()[0] for name, doc in rows.items()}))
        return
    table = Table("preset", "what")
    for name, doc in rows.items():
        table.add_row(name, doc.splitlines()[0])
    Console().print(table)


@presets.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def show_preset(name: str, as_json: bool) -> None:
    """Every setting of a preset as YAML, with the sources of its values."""
    with reported(Console(stderr=True), as_json=as_json, resume=str):
        config = preset(name)
        if as_json:
            click.echo(json.dumps(to_dict(config)))
            return
        for line in (inspect.getdoc(PRESETS[name]) or "").splitlines():
            click.echo(f"# {line}".rstrip())
        click.echo(to_yaml(config), nl=False)
