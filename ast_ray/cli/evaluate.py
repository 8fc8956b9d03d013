"""``ast-ray evaluate SET...``: fresh networks on distilled sets, scored on the real test set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ast_ray.cli.display import Display, results_table
from ast_ray.cli.errors import reported
from ast_ray.cli.help import SettingsCommand
from ast_ray.cli.options import build_config, given_settings, setting_options, unknown_options
from ast_ray.cli.session import check_device, open_executor, resume_command
from ast_ray.config import Config, apply_overrides, check, from_dict
from ast_ray.errors import ConfigError
from ast_ray.store.atomic import write_json


@click.command(cls=SettingsCommand)
@click.argument("sets", nargs=-1, required=True, metavar="SET...")
@click.option("--out", metavar="DIR", help="where rows and results.json go; default: evaluation/ beside the first set")
@click.option("--json", "as_json", is_flag=True, help="results as JSON on stdout, nothing else there")
@setting_options
def evaluate(sets: tuple[str, ...], out: str | None, as_json: bool, **options: Any) -> None:
    """Evaluate distilled sets (files, or run directories with all their sets) by the strict protocol.

    The settings are those the first set was distilled with, unless --preset or --config say otherwise.
    """
    from ast_ray.stages.evaluate_sets import set_jobs, set_paths
    from ast_ray.stages.pipeline import evaluate_sets

    messages = Console(stderr=True)
    with reported(messages, as_json=as_json, resume=resume_command):
        if any(word.startswith("-") for word in sets):
            words = sets[next(place for place, word in enumerate(sets) if word.startswith("-")) :]
            raise ConfigError([problem for problem in unknown_options(words) if problem.reason.startswith("-")])
        paths = set_paths(sets)
        config = _config(next(iter(paths.values())), options)
        check_device(config)
        folder = (Path(out) if out else _beside(next(iter(paths.values())))).resolve()
        jobs = set_jobs(config, paths, folder)
        with Display(messages, quiet=as_json) as display, open_executor(config, display) as executor:
            table = evaluate_sets(jobs, executor, display)
        write_json(folder / "results.json", {"rows": table})
        if as_json:
            click.echo(json.dumps({"rows": table, "folder": str(folder)}))
            return
        Console().print(results_table(table))
        click.echo(f"rows: {folder}")


def _beside(path: Path) -> Path:
    return path.parent / "evaluation"


def _config(path: Path, options: dict[str, Any]) -> Config:
    name, file = options.pop("preset_name"), options.pop("config_file")
    if name or file:
        return build_config(name, file, options)
    from ast_ray.store.synthetic import load_synthetic

    provenance = load_synthetic(path).provenance
    return check(apply_overrides(from_dict(provenance.get("config", {})), given_settings(options)))
