"""The commands that work with runs, sets and images, by name: `main` offers them, `submit` sends them to a cluster."""

from __future__ import annotations

import click

from ast_ray.cli.data import data
from ast_ray.cli.evaluate import evaluate
from ast_ray.cli.export import export, import_images
from ast_ray.cli.info import info
from ast_ray.cli.methods import methods
from ast_ray.cli.options import without_empty_text
from ast_ray.cli.presets import presets
from ast_ray.cli.report import report
from ast_ray.cli.run import distill, experts, run
from ast_ray.cli.tune import tune

_ALL = (run, experts, distill, evaluate, tune, report, export, import_images, presets, methods, data, info)
COMMANDS: dict[str, click.Command] = {str(one.name): without_empty_text(one) for one in _ALL}
