"""Pages made from the package itself when the site is built: settings, commands, metrics, run directory, code."""

from __future__ import annotations

import ast
import inspect
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import ast_ray
from ast_ray.config import Setting, schema
from ast_ray.storage.run_directory import EvaluationDirectory, MethodDirectory, RunDirectory
from ast_ray.telemetry.glossary import METRICS

PACKAGE = Path(ast_ray.__file__).parent
RESULTS = PACKAGE.parent / "benchmarks" / "results" / "cells.jsonl"
MEASURED, STUDY = "<!-- measured -->", "peers"
LAYERS = ("core", "config", "storage", "data", "telemetry", "stages", "search", "report", "ray_backend", "cli")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, then keep of the navigation what exists."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    config["nav"] = list(_present(config["nav"], {file.src_uri for file in files}))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the measured figures of the methods where a page has the mark for them."""
    if MEASURED not in markdown:
        return markdown
    rows = [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.exists() else []
    return markdown.replace(MEASURED, measured(rows))


def measured(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of the study of all methods: accuracy and time, from the rows of the results file alone."""
    cells: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for row in rows:  # a later row of a seed takes the place of an earlier one
        if row["study"] == STUDY and not row["diverged"]:
            cells.setdefault((row["base"], row["variant"]), {})[row["seed"]] = row
    if not cells:
        return f"No cell of the study `{STUDY}` is in the results file yet.\n"
    lines = []
    for (base, variant), by_seed in sorted(cells.items()):
        found = [100 * statistics.mean(_own_network(row)["strict"]) for row in by_seed.values()]
        spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
        first = next(iter(by_seed.values()))
        iterations = (first.get("distillation") or {}).get("iterations", "")
        times = [_mean_seconds(by_seed.values(), part) for part in ("experts", "distillation")]
        lines.append((base, variant, f"{statistics.mean(found):.1f}{spread}", len(found), iterations, *times))
    head = ("cell", "set", "test accuracy, %", "n", "updates", "experts, s", "distillation, s")
    return f"Study `{STUDY}`, protocol `strict`, mean ± standard deviation over n seeds.\n\n{table(head, lines)}"


def _own_network(row: Mapping[str, Any]) -> Mapping[str, list[float]]:
    accuracies: Mapping[str, Mapping[str, list[float]]] = row["accuracy"]
    return accuracies["convnet"]


def _mean_seconds(rows: Iterable[Mapping[str, Any]], part: str) -> str:
    found = [row[part]["seconds"] for row in rows if (row.get(part) or {}).get("seconds")]
    return f"{statistics.mean(found):.0f}" if found else "-"


def _present(nav: Iterable[Any], known: set[str]) -> Iterable[Any]:
    for entry in nav:
        ((title, value),) = entry.items()
        if isinstance(value, list):
            yield {title: list(_present(value, known))}
        elif value in known:
            yield entry


def pages() -> dict[str, str]:
    """Every generated page by its path under docs/."""
    return {
        "metrics.md": metrics_page(),
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/run-directory.md": run_directory_page(),
        "reference/code.md": code_page(),
    }


def cell(text: object) -> str:
    """Text that fits into one cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _bounds(item: Setting) -> str:
    signs = {"low": "≥", "above": ">", "high": "≤", "below": "<"}
    return ", ".join(f"{signs[name]} {bound:g}" for name, bound in item.bounds.items() if bound is not None)


def settings_page() -> str:
    """Every setting with default, bounds and text, section by section."""
    parts = [
        "# Settings\n",
        "Made from the configuration's schema. On the command line a setting is `--section.name`, or `--name` where "
        "that is unique, with dashes for underscores; in YAML it is `section: {name: value}`.\n",
    ]
    sections: dict[str, list[Setting]] = {}
    for item in schema().values():
        sections.setdefault(item.path.rpartition(".")[0], []).append(item)
    for section, items in sections.items():
        parts.append(f"## {section or 'The whole run'}\n")
        rows = []
        for item in items:
            kind = " or ".join(f"`{name}`" if name else "empty" for name in item.choices) or item.kind.__name__
            symbol = f" ({item.symbol})" if item.symbol else ""
            default = ",".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
            rows.append(
                (f"`{item.path}`", item.doc + symbol, kind, f"`{default}`" if default != "" else "", _bounds(item))
            )
        parts.append(table(("setting", "what", "type", "default", "bounds"), rows))
    return "\n".join(parts)


def metrics_page() -> str:
    """The glossary of everything TensorBoard shows."""
    parts = [
        "# Metrics\n",
        "What TensorBoard shows, by tag. `ast-ray tensorboard RUN` starts it; its CUSTOM SCALARS tab is laid out to "
        "answer three questions: does the set get better, does the student follow the experts, are the experts good "
        "and smooth? The same texts stand beside the charts there.\n",
    ]
    for item in METRICS:
        parts.append(f"## `{item.tag}`\n")
        parts.append(
            f"**{item.name}**, in {item.unit}, by {item.axis}.\n\n{item.meaning}\n\n*A bad value:* {item.bad}\n"
        )
    return "\n".join(parts)


def commands_page() -> str:
    """Every command with its own options; the settings, which many commands take, are on their own page."""
    import click

    from ast_ray.cli.main import main

    parts = ["# Commands\n", "Settings can be given to the commands that work: see [Settings](settings.md).\n"]

    def walk(command: click.Command, name: str) -> None:
        if isinstance(command, click.Group):
            for inner in sorted(command.commands):
                walk(command.commands[inner], f"{name} {inner}")
            return
        usage = " ".join(item.human_readable_name for item in command.params if isinstance(item, click.Argument))
        parts.append(f"## `{name}`\n\n```text\n{name} {usage}\n```\n\n{inspect.cleandoc(command.help or '')}\n")
        options = [item for item in command.params if isinstance(item, click.Option)]
        own = [item for item in options if not (item.name or "").startswith("setting__")]
        if own:
            parts.append(table(("option", "what"), ((f"`{', '.join(item.opts)}`", item.help or "") for item in own)))
        if len(own) < len(options):
            parts.append("And every [setting](settings.md).\n")

    walk(main, "ast-ray")
    return "\n".join(parts)


def run_directory_page() -> str:
    """Paths and their docstrings, as the one module that spells them says."""

    def rows(cls: type, example: Any, root: Path) -> list[tuple[str, str]]:
        found = []
        for name, member in vars(cls).items():
            if isinstance(member, property):
                value = getattr(example, name)
                path = value if isinstance(value, Path) else value.path
                found.append((f"`{path.relative_to(root)}`", inspect.getdoc(member) or ""))
        return found

    root = Path("RUN")
    run = RunDirectory(root)
    method = run.method("METHOD")
    return "\n".join(
        [
            "# Run directory\n",
            "Everything needed to know what happened lies in one folder. Made from "
            "`ast_ray/storage/run_directory.py`, the one place where these paths are spelled; the formats are "
            "described in [Store formats](formats.md).\n",
            table(("in the run directory", "what"), rows(RunDirectory, run, root)),
            "## One distillation\n",
            table(("in the run directory", "what"), rows(MethodDirectory, method, root)),
            "## Evaluations\n",
            table(("in the run directory", "what"), rows(EvaluationDirectory, run.evaluation, root)),
            "Files appear under their names only when they are complete. A run that stopped goes on with the same "
            "command: what is finished is kept, a distillation continues from its checkpoint, and what it had written "
            "after that (metrics, snapshots, events) is cut back first.\n",
        ]
    )


def code_page() -> str:
    """Public functions and classes of every module, from their docstrings; nothing is imported for it."""
    parts = ["# Code\n", "Made from docstrings. Start with `ast_ray/core/methods/trajectory.py`.\n"]
    for layer in LAYERS:
        parts.append(f"## {layer}\n")
        for path in sorted((PACKAGE / layer).rglob("*.py")):
            parts += list(_module(path))
    return "\n".join(parts)


def _module(path: Path) -> Iterable[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(PACKAGE.parent).as_posix()
    yield f"### `{name}`\n\n{_doc(tree)}\n"
    rows = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            rows.append((f"`{node.name}({_arguments(node)})`", _first(node)))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            rows.append((f"class `{node.name}`", _first(node)))
            methods = [
                item for item in node.body if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
            ]
            rows += [(f"`{node.name}.{item.name}({_arguments(item)})`", _first(item)) for item in methods]
    if rows:
        yield table(("name", "what"), rows)


def _doc(node: ast.Module) -> str:
    # Docstrings are no Markdown: angle brackets in them are text, not elements.
    return (ast.get_docstring(node) or "").replace("<", "&lt;")


def _first(node: ast.FunctionDef | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n\n")[0].replace("<", "&lt;").replace("[", "\\[")


def _arguments(node: ast.FunctionDef) -> str:
    given = [item.arg for item in (*node.args.posonlyargs, *node.args.args) if item.arg not in ("self", "cls")]
    only = [item.arg for item in node.args.kwonlyargs]
    return ", ".join([*given, *(["*", *only] if only else [])])
