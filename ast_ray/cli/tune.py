"""``ast-ray tune``: the search over a space, its final stage, and what they leave."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ast_ray.cli.command_line import command_line
from ast_ray.cli.errors import reported
from ast_ray.cli.help import SettingsCommand
from ast_ray.cli.options import build_config, given_settings, setting_options, unknown_options, unusable
from ast_ray.cli.search_display import final_table, short_settings
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal, echo
from ast_ray.config import Config, apply_overrides, check
from ast_ray.config.address import local_path
from ast_ray.errors import ConfigError, Problem, counted
from ast_ray.ray_backend.tune.space_files import find_space, space_names
from ast_ray.search.directory import SearchDirectory

FOLDER = "a search needs a folder, here or on a shared mount"


@click.command(cls=SettingsCommand)
@click.option("--resume", metavar="DIR", help="go on with the search in this folder; takes its settings from there")
@click.option("--list-spaces", is_flag=True, help="list the installed search spaces and end")
@click.option("--out", metavar="DIR", help="folder of the search; default: runs/tune-<preset>-<space>")
@click.option("--json", "as_json", is_flag=True, help="results as JSON on stdout, nothing else there")
@click.argument("unknown", nargs=-1, type=click.UNPROCESSED, metavar="")
@setting_options
def tune(resume: str | None, list_spaces: bool, out: str | None, as_json: bool, **options: Any) -> None:
    """Search hyperparameters with Ray Tune, then distil the best again with fresh seeds and test them.

    Trials are ranked by accuracy on the validation split. The same command again, or --resume DIR, goes on after any
    interruption; trials that ended are never run again.
    """
    messages, where = Terminal(stderr=True), [Path(resume or out or "DIR")]
    with reported(messages, as_json=as_json, resume=lambda: shlex.join(["ast-ray", "tune", "--resume", str(where[0])])):
        from ast_ray.ray_backend.session import prepare_import
        from ast_ray.ray_backend.tune.environment import quiet_tune

        quiet_tune()
        prepare_import(given_settings(options).get("compute.address", ""))
        if list_spaces:
            _list(as_json)
            return
        config, space, directory = _setup(resume, out, options)
        where[0] = directory.path
        from ast_ray.cli.search_session import run_search

        results = run_search(config, space, directory, command_line(), messages, quiet=as_json)
        if as_json:
            say_json(results)
        else:
            _show(Terminal(), results)


def _setup(resume: str | None, out: str | None, options: dict[str, Any]) -> tuple[Config, Any, SearchDirectory]:
    """Settings, space and folder of a new or a resumed search."""
    name = options.pop("preset_name")
    file = options.pop("config_file")
    given = given_settings(options)
    words = {"unknown": options.pop("unknown", ())}
    if resume and (problems := unknown_options(words["unknown"])):
        raise ConfigError(problems)
    base = Config() if resume else build_config(name, file, words)
    if problems := unusable(given):
        raise ConfigError(problems)
    if not resume:
        find_space(str(given.get("tune.space", base.tune.space)))
    from ast_ray.ray_backend.tune.spaces import load_space
    from ast_ray.search.open import FREE, absolute, load_search, with_shared_experts

    if resume:
        directory = SearchDirectory(local_path(resume, "resume", FOLDER))
        stored = load_search(directory)
        free = {f"tune.{leaf}" for leaf in FREE}
        fixed = [key for key in given if key not in free and not key.startswith("compute.")]
        if fixed or name or file or out:
            shown = fixed or [text for text, value in (("--preset", name), ("--config", file), ("--out", out)) if value]
            reason = f"a resumed search keeps its settings; only {', '.join(sorted(free))} and compute.* may change"
            raise ConfigError([Problem(key, given.get(key, "given"), reason) for key in shown])
        return check(apply_overrides(stored, given)), load_space(str(directory.space)), directory
    space = load_space(str(given.get("tune.space", base.tune.space)))
    start = with_shared_experts(_with_settings(base, space), space.param_space)
    config = check(absolute(apply_overrides(start, given)))
    folder = out or str(Path("runs") / f"tune-{config.preset or 'custom'}-{space.name}")
    return config, space, SearchDirectory(local_path(folder, "out", FOLDER))


def _with_settings(base: Config, space: Any) -> Config:
    try:
        return apply_overrides(base, space.settings)
    except ConfigError as error:
        told = [Problem(f"space {space.name}: {item.setting}", item.value, item.reason) for item in error.problems]
        raise ConfigError(told) from None


def _list(as_json: bool) -> None:
    from ast_ray.ray_backend.tune.spaces import load_space

    spaces = [load_space(name) for name in space_names()]
    if as_json:
        rows = [{"name": item.name, "doc": item.doc, "settings": sorted(item.param_space)} for item in spaces]
        say_json({"spaces": rows})
        return
    for item in spaces:
        echo(f"{item.name}: {item.doc.splitlines()[0] if item.doc else ''}")


def _show(console: Console, results: dict[str, Any]) -> None:
    search, seconds = results["search"], results["search"]["seconds"]
    statuses = ", ".join(f"{count} {status}" for status, count in search["statuses"].items())
    lines = [
        f"{counted(search['trials'], 'trial')} ({statuses}), {counted(search['iterations']['done'], 'iteration')} "
        f"of {search['iterations']['without_stopping']} without stopping",
        search["endings"],
        f"seconds of work: trials {seconds['trials']:.0f}; experts apart {seconds['experts']:.0f} "
        f"({counted(search['experts_trained'], 'expert')}, {counted(search['buffers'], 'buffer')}), "
        f"waiting {seconds['waiting']:.0f}",
    ]
    if results["session"]["wall"]:
        session = results["session"]
        lines.append(
            f"search: {session['wall']:.0f} s on {counted(session['slots'], 'slot')}, "
            f"{session['outside']:.1%} outside trials"
        )
    best = search["best"]
    if best:
        lines.append(f"best trial: {best['trial'][:8]}, {best['objective']:.1%}, {short_settings(best['overrides'])}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    if results["importance"]:
        shown = ", ".join(f"{item['name']} {item['mean']:.2f}" for item in results["importance"])
        console.print(f"importance: {shown}", highlight=False, soft_wrap=True)
    if results["final"]:
        console.print(final_table(results["final"], results["chosen"]))
        for row in results["final"][1:]:
            console.print(f"{row['name']}: {short_settings(row['overrides'])}", highlight=False, soft_wrap=True)
        console.print("* chosen by validation over fresh seeds; the test set has no say", highlight=False)
    for text in (
        f"best configuration: ast-ray run --config {results['best_config']}",
        f"plots and table: {results['run']}/*.png, trials.parquet, results.json",
        f"curves: tensorboard --logdir {results['run']}/tensorboard",
    ):
        console.print(text, highlight=False, soft_wrap=True)
