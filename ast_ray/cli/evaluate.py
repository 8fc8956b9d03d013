"""``ast-ray evaluate SET...``: fresh networks on distilled sets and real subsets, scored on the real test set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ast_ray.cli.command_line import command_line, resume_command
from ast_ray.cli.display import Display, results_table, scores_table
from ast_ray.cli.errors import reported
from ast_ray.cli.help import SettingsCommand
from ast_ray.cli.options import build_config, given_settings, setting_options, unknown_options
from ast_ray.config import Config, apply_overrides, check, from_dict
from ast_ray.errors import ConfigError
from ast_ray.store import mirror
from ast_ray.store.atomic import write_json
from ast_ray.store.claim import claimed
from ast_ray.telemetry.run_directory import EvaluationDirectory


@click.command(cls=SettingsCommand)
@click.argument("sets", nargs=-1, required=True, metavar="SET...")
@click.option("--out", metavar="DIR", help="where rows and results.json go; default: evaluation/ beside the first set")
@click.option("--json", "as_json", is_flag=True, help="results as JSON on stdout, nothing else there")
@setting_options
def evaluate(sets: tuple[str, ...], out: str | None, as_json: bool, **options: Any) -> None:
    """Evaluate sets: files, exports, run directories with all their sets, or real images by name.

    Names of real images: random, representative, herding, k-centre, forgetting (as many as the first set has), full.
    The settings are those the first set was distilled with, unless --preset or --config say otherwise. On which
    networks and how: --architectures, --networks, --protocols, --lr, --scores. The same command again goes on where it
    stopped.
    """
    messages = Console(stderr=True)
    with reported(messages, as_json=as_json, resume=resume_command):
        if any(word.startswith("-") for word in sets):
            words = sets[next(place for place, word in enumerate(sets) if word.startswith("-")) :]
            raise ConfigError([problem for problem in unknown_options(words) if problem.reason.startswith("-")])
        from ast_ray.cli.session import check_device, open_executor
        from ast_ray.stages.evaluate_sets import set_jobs, set_paths, split_names, train_embedding
        from ast_ray.stages.pipeline import evaluate_sets

        named, real = split_names(sets)
        paths = set_paths(named)
        first = next(iter(paths.values()), None)
        config = _config(first, options)
        check_device(config)
        directory = EvaluationDirectory((mirror.view(out) if out else _beside(first, config)).expanduser().resolve())
        with claimed(directory.lock, "another command", command_line()):
            jobs = set_jobs(config, paths, directory.path, real)
            with Display(messages, quiet=as_json) as display, open_executor(config, display) as executor:
                train_embedding(jobs, executor)
                table = evaluate_sets(jobs, executor, display)
            write_json(directory.results, {"rows": table})
        if as_json:
            click.echo(json.dumps({"rows": table, "folder": mirror.shown(directory.path)}))
            return
        console = Console()
        console.print(results_table(table))
        if scores := scores_table(table):
            console.print(scores)
        click.echo(f"rows: {mirror.shown(directory.rows)}")


def _beside(path: Path | None, config: Config) -> Path:
    """``evaluation`` in the folder of the set; for an export, which is handed on as it is, in the folder above."""
    from ast_ray.store.export.parts import read_description

    if path is None:
        return Path("runs") / (config.preset or "custom") / "evaluation"
    folder = path.parent.parent if path.suffix == ".parquet" and path.parent.name == "data" else path.parent
    if read_description(folder) is not None:
        return folder.with_name(f"{folder.name}-evaluation")
    return folder / "evaluation"


def _config(path: Path | None, options: dict[str, Any]) -> Config:
    name, file = options.pop("preset_name"), options.pop("config_file")
    if name or file or path is None or options.get("dataset_name"):
        return build_config(name, file, options)
    from ast_ray.store.export import load_set

    provenance = load_set(path).provenance
    return check(apply_overrides(from_dict(provenance.get("config", {})), given_settings(options)))
