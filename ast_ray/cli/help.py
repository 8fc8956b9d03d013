"""Help pages in sections: the command's own options, then the settings as the configuration groups them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import click

from ast_ray.cli.options import PREFIX, parameter
from ast_ray.cli.terminal import echo
from ast_ray.config import Config, schema

# What one usually sets. The help of a command shows these; `--help-all` shows every setting.
USUAL = (
    "seed",
    "data.source",
    "data.root",
    "data.train_size",
    "data.image_size",
    "data.skip_corrupt",
    "network.name",
    "network.width",
    "network.depth",
    "expert.count",
    "expert.epochs",
    "expert.lr",
    "expert.batch_size",
    "expert.penalty_weight",
    "distill.ipc",
    "distill.iterations",
    "distill.syn_steps",
    "distill.expert_epochs",
    "distill.max_start_epoch",
    "distill.student_lr",
    "distill.init",
    "distill.segments",
    "evaluate.architectures",
    "evaluate.networks",
    "evaluate.protocols",
    "compute.backend",
    "compute.address",
    "compute.device",
    "compute.workers",
    "compute.threads",
    "compute.store",
    "run.methods",
    "run.baselines",
    "tune.trials",
    "tune.searcher",
    "tune.scheduler",
    "tune.budget",
    "tune.objective",
)
_EVERY = "ast_ray.every_setting"


def section_titles() -> dict[str, str]:
    """Section name -> first line of its docstring; the top level is ``""``."""
    hints = get_type_hints(Config)
    sections = [item.name for item in fields(Config) if is_dataclass(hints[item.name])]
    return {"": "The whole run", **{name: (hints[name].__doc__ or "").splitlines()[0].rstrip(".") for name in sections}}


class SettingsCommand(click.Command):
    """A command whose settings are listed section by section: those one usually sets, or all (``--help-all``).

    Unknown options are handed on as arguments: `options.build_config` tells them with everything else that is wrong.
    """

    ignore_unknown_options = True

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Add ``--help-all`` beside ``--help``."""
        return [*super().get_params(ctx), _HELP_ALL]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write options in groups."""
        usual = {parameter(schema()[path]) for path in USUAL}
        every = bool(ctx.meta.get(_EVERY))
        groups: dict[str | None, list[tuple[str, str]]] = {None: []}
        hidden = 0
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is None or not record[0]:
                continue
            name = option.name or ""
            is_setting = name.startswith(PREFIX)
            if is_setting and not every and name not in usual:
                hidden += 1
                continue
            section = name.removeprefix(PREFIX).rpartition("__")[0] if is_setting else None
            groups.setdefault(section, []).append(record)
        with formatter.section("Options"):
            formatter.write_dl(groups.pop(None))
        titles = section_titles()
        for section, records in groups.items():
            title = titles.get(section or "", "")
            with formatter.section(f"Settings: {section} - {title}" if section else f"Settings: {title}"):
                formatter.write_dl(records)
        if hidden:
            formatter.write_paragraph()
            formatter.write_text(f"{hidden} more settings: {ctx.command_path} --help-all")


def _show_all(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_EVERY] = True
        echo(ctx.get_help())
        ctx.exit()


_HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all,
    help="Show this message with every setting and exit.",
)
