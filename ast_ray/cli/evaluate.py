"""``ast-ray evaluate SET...``: fresh networks on distilled sets and real subsets, scored on the real test set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ast_ray.cli.command_line import command_line, resume_command
from ast_ray.cli.display import Display, results_table, scores_table
from ast_ray.cli.errors import end_with, reported
from ast_ray.cli.help import SettingsCommand
from ast_ray.cli.options import build_config, given_settings, setting_options, unknown_options
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal, echo
from ast_ray.config import Config, check
from ast_ray.config.ownership import check_source, from_elsewhere
from ast_ray.errors import ConfigError
from ast_ray.storage.claim import claimed
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.run_directory import EvaluationDirectory


@click.command(cls=SettingsCommand)
@click.argument("sets", nargs=-1, required=True, metavar="SET...")
@click.option("--out", metavar="DIR", help="where rows and results.json go; default: evaluation/ beside the first set")
@click.option("--json", "as_json", is_flag=True, help="results as JSON on stdout, nothing else there")
@setting_options
def evaluate(sets: tuple[str, ...], out: str | None, as_json: bool, **options: Any) -> None:
    """Evaluate sets: files, exports, run directories with all their sets, or real images by name.

    Names of real images: random, representative, herding, k-centre, forgetting (as many as the first set has), full.
    The settings are those the first set was distilled with, unless --preset or --config say otherwise; where the work
    runs (compute.*, --root) is never taken from a set, and images it names by a path need --source. On which networks
    and how: --architectures, --networks, --protocols, --lr, --scores. The same command again goes on where it
    stopped.
    """
    messages = Terminal(stderr=True)
    with reported(messages, as_json=as_json, resume=resume_command):
        if any(word.startswith("-") for word in sets):
            words = sets[next(place for place, word in enumerate(sets) if word.startswith("-")) :]
            raise ConfigError([problem for problem in unknown_options(words) if problem.reason.startswith("-")])
        from ast_ray.cli.session import check_device, open_executor
        from ast_ray.stages.evaluation.named_sets import (
            made_of_other_images,
            set_jobs,
            set_paths,
            split_names,
            train_embedding,
        )
        from ast_ray.stages.run.failures import Failures
        from ast_ray.stages.run.pipeline import evaluate_sets

        named, real = split_names(sets)
        paths = set_paths(named)
        first = next(iter(paths.values()), None)
        config = _config(first, options)
        check_device(config)
        if out:
            place = EvaluationDirectory.open_read_only(out)
        else:
            place = EvaluationDirectory(_beside(first, config)).genuine()
        directory = place.resolved()
        with claimed(directory.lock, "another command", command_line()):
            jobs = set_jobs(config, paths, directory.path, real)
            with Display(messages, quiet=as_json) as display, open_executor(config, display) as executor:
                for line in made_of_other_images(jobs, paths):
                    display.say(line)
                train_embedding(jobs, executor)
                failures = Failures({}, display)
                table = evaluate_sets(failures.evaluable(jobs), executor, display, failures)
            failed = failures.rows([job.set_name for job in jobs])
            write_document(directory.results, {"rows": table, "failed": failed})
        if as_json:
            say_json({"rows": table, "failed": failed, "folder": str(directory)})
        else:
            _show(table, failed)
            echo(f"rows: {directory.shown(directory.rows)}")
        end_with(messages, failed, run=False)


def _show(table: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
    console = Terminal()
    console.print(results_table(table, failed))
    if scores := scores_table(table):
        console.print(scores)


def _beside(path: Path | None, config: Config) -> Path:
    """``evaluation`` in the folder of the set; for an export, which is handed on as it is, in the folder above."""
    from ast_ray.storage.export.common import read_description

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
    from ast_ray.storage.export import load_set

    given = given_settings(options)
    config = check(from_elsewhere(load_set(path).provenance.get("config", {}), given))
    check_source(config, given)
    return config
