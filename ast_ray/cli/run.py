"""``ast-ray run``, ``experts`` and ``distill``: the stages, all or in part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ast_ray.cli.command_line import resume_command
from ast_ray.cli.display import results_table, show_verdicts
from ast_ray.cli.errors import end_with, reported
from ast_ray.cli.help import SettingsCommand
from ast_ray.cli.options import explained_config, setting_options
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal
from ast_ray.config.methods import METHODS, matched_methods, method_info
from ast_ray.errors import ConfigError, Problem
from ast_ray.storage.folder import Folder

if TYPE_CHECKING:
    from ast_ray.cli.session import Session
    from ast_ray.stages.run.estimate import Stage
    from ast_ray.stages.run.pipeline import Plan


def working_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--out`` and ``--json``, shared by the commands that work, before the settings."""
    function = click.argument("unknown", nargs=-1, type=click.UNPROCESSED, metavar="")(setting_options(function))
    function = click.option("--json", "as_json", is_flag=True, help="results as JSON on stdout, nothing else there")(
        function
    )
    return click.option(
        "--out", metavar="DIR", help="run directory, or its s3:// or gs:// address; default: runs/<preset>"
    )(function)


def _work(
    work: Callable[[Session], dict[str, Any]],
    show: Callable[[Console, dict[str, Any]], None],
    options: dict[str, Any],
    stages: Sequence[Stage],
    buffer: str | None = None,
    *,
    needs_method: bool = True,
) -> None:
    """Build the configuration, open the session, print its head, work, show."""
    as_json, out = options.pop("as_json"), options.pop("out")
    messages = Terminal(stderr=True)
    with reported(messages, as_json=as_json, resume=resume_command):
        config, why = explained_config(options.pop("preset_name"), options.pop("config_file"), options, by_methods=True)
        if needs_method and not config.run.methods:
            raise ConfigError([Problem("run.methods", [], "nothing to do: name a method with --methods")])
        if buffer and len(config.run.methods) != 1:
            reason = "one folder of experts serves one method; name it with --methods"
            raise ConfigError([Problem("run.methods", ",".join(config.run.methods), reason)])
        if (buffer or stages == ("experts",)) and not matched_methods(config):
            able = ", ".join(name for name, info in METHODS.items() if info.needs_experts)
            reason = f"matches no experts; those that do: {able}"
            raise ConfigError([Problem("run.methods", ",".join(config.run.methods), reason)])
        from ast_ray.cli.header import header
        from ast_ray.cli.session import open_session

        def head(plan: Plan) -> list[str]:
            return header(plan, why, stages)

        with open_session(config, out, messages, quiet=as_json, buffer=buffer, head=head) as session:
            results = {**work(session), "run": str(session.plan.directory)}
        if as_json:
            say_json(results)
        else:
            show(Terminal(), results)
        end_with(messages, results["failed"])


@click.command(cls=SettingsCommand)
@working_options
def run(**options: Any) -> None:
    """Train experts, distil, evaluate; print the table. The same command again goes on where it stopped."""

    def work(session: Session) -> dict[str, Any]:
        from ast_ray.stages.run.pipeline import run_all

        return run_all(session.plan, session.executor, session.display)

    _work(work, _show_results, options, ("experts", "distillation", "evaluation"), needs_method=False)


@click.command(cls=SettingsCommand)
@working_options
def experts(**options: Any) -> None:
    """Train the experts that are missing (Algorithm 1); print their Avg_Var and accuracy."""

    def work(session: Session) -> dict[str, Any]:
        from ast_ray.stages.run.pipeline import mean_expert, open_failures, train_buffers

        plan = session.plan
        failures = open_failures(plan, session.display)
        trained = train_buffers(plan, matched_methods(plan.config), session.executor, failures)
        return {
            "experts": {
                method: {**mean_expert(rows), "folder": str(plan.buffer(method).directory)}
                for method, rows in trained.items()
                if rows
            },
            "failed": failures.rows(),
        }

    _work(work, _show_experts, options, ("experts",))


@click.command(cls=SettingsCommand)
@click.option("--experts", "buffer", metavar="DIR", help="match the experts in this folder (one method only)")
@working_options
def distill(buffer: str | None, **options: Any) -> None:
    """Distil (Algorithm 2), training missing experts first; print where the sets are."""

    def work(session: Session) -> dict[str, Any]:
        from ast_ray.stages.run.pipeline import distill_outcomes, open_failures, train_and_distill

        methods = session.plan.config.run.methods
        failures = open_failures(session.plan, session.display, methods)
        train_and_distill(session.plan, matched_methods(session.plan.config), methods, session.executor, failures)
        distilled = [method for method in methods if not failures.includes(method)]
        return {"distilled": distill_outcomes(session.plan, distilled), "failed": failures.rows()}

    _work(work, _show_distilled, options, ("experts", "distillation"), buffer)


def _show_results(console: Console, results: dict[str, Any]) -> None:
    console.print(results_table(results["rows"], results["failed"]))
    show_verdicts(console, results["verdicts"])
    if results["experts"]:
        _show_experts(console, results)
    images = [f"images: {results['run']}/distill/<method>/synthetic.png"] if Folder.at(results["run"]).is_local else []
    for line in (
        f"run directory: {results['run']}",
        *images,
        f"page: ast-ray report {results['run']}",
        f"curves: ast-ray tensorboard {results['run']}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _show_experts(console: Console, results: dict[str, Any]) -> None:
    table = Table(title="experts (mean)")
    for name in ("method", "experts", "Avg_Var", "validation accuracy %"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method, row in results["experts"].items():
        accuracy = f"{100 * row['validation_accuracy']:.1f}"
        table.add_row(method, str(row["count"]), f"{row['avg_var']:.4g}", accuracy)
    console.print(table)


def _show_distilled(console: Console, results: dict[str, Any]) -> None:
    for method, outcome in results["distilled"].items():
        alpha = f", alpha {outcome['student_lr']:.4g}" if method_info(method).learns_lr else ""
        console.print(
            f"{method}: validation accuracy {outcome['validation_accuracy']:.1%} "
            f"at iteration {outcome['best_iteration']}{alpha}, {outcome['path']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
