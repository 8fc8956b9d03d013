"""``ast-ray methods``: the distillation methods, what each needs and learns, and what an iteration costs."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from ast_ray.cli.errors import reported
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal
from ast_ray.config.cost import iteration_forwards, iteration_memory
from ast_ray.config.methods import METHODS, MethodInfo
from ast_ray.config.presets import facts_of_preset, method_config, preset
from ast_ray.config.published_methods import LAST_PASS, PUBLISHED

_CELLS = (("cifar10", 1), ("cifar10", 10), ("cifar10", 50))


@click.command()
@click.option("--preset", "name", default="cifar10-cpu", show_default=True, metavar="NAME", help="cost at its settings")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
def methods(name: str, as_json: bool) -> None:
    """List the methods: what each needs, learns and costs, its paper and its published accuracy."""
    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        rows = {info.name: _row(info, name) for info in METHODS.values()}
        if as_json:
            say_json(rows)
            return
        console = Terminal()
        console.print(_table(rows, name))
        for info in METHODS.values():
            settings = f"{info.section}.*" if info.section else "expert.*, distill.*"
            text = f"{info.name}: {info.family}; {info.summary} ({info.paper}); settings {settings}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        last = ", ".join(info.title for info in METHODS.values() if info.name in LAST_PASS)
        for line in (
            "forwards: arithmetic of one iteration, in forward passes of one image",
            f"published: CIFAR-10 with 1, 10, 50 images per class; the last pass for {last}, the best pass on the test "
            "set for the others; FRePo on a network of its own",
            "compare some: ast-ray run --methods ast,dm,frepo",
        ):
            console.print(line, highlight=False, soft_wrap=True)


def _row(info: MethodInfo, name: str) -> dict[str, Any]:
    given = preset(name)
    config, facts = method_config(given, info.name), facts_of_preset(given)
    learned = [
        "images",
        *(["learning rate"] if info.learns_lr else []),
        *(["labels"] if info.target_loss == "mse" else []),
    ]
    memory = iteration_memory(config, info.name, facts)
    return {
        "title": info.title,
        "family": info.family,
        "needs": "experts" if info.needs_experts else "real images",
        "learns": learned,
        "section": info.section or None,
        "forwards": round(iteration_forwards(config, info.name, facts)),
        "memory_bytes": memory or None,
        "paper": info.paper,
        "published_pass": _published_pass(info.name),
        "published": {f"{dataset}-ipc{ipc}": PUBLISHED.get((info.name, dataset, ipc)) for dataset, ipc in _CELLS},
    }


def _published_pass(method: str) -> str | None:
    """Return the pass of evaluation whose accuracy a method's paper reports; None where no accuracy is known."""
    if all((method, *cell) not in PUBLISHED for cell in _CELLS):
        return None
    return "last" if method in LAST_PASS else "best on the test set"


def _table(rows: dict[str, dict[str, Any]], name: str) -> Table:
    table = Table(title=f"{len(rows)} methods; cost at the settings of {name}")
    for column in ("method", "needs", "learns", "forwards", "published %"):
        table.add_column(column, justify="right" if column == "forwards" else "left")
    for method, row in rows.items():
        published = " / ".join(f"{value[0]:.1f}" if value else "-" for value in row["published"].values())
        cells = [row["needs"], ", ".join(row["learns"]), f"{row['forwards']:,}"]
        table.add_row(method, *cells, published if any(row["published"].values()) else "")
    return table
