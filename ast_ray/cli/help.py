"""Help pages in sections: the command's own options, then the settings as the configuration groups them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import click

from ast_ray.cli.terminal import echo
from ast_ray.config import Config

# What one usually sets, by section. The help of a command shows these; `--help-all` shows every setting.
USUAL = {
    "": ("seed",),
    "data": ("source", "root", "train_size", "image_size", "skip_corrupt"),
    "network": ("name", "width", "depth"),
    "expert": ("count", "epochs", "lr", "batch_size", "penalty_weight"),
    "distill": ("ipc", "iterations", "syn_steps", "expert_epochs", "max_start_epoch", "student_lr", "init", "segments"),
    "evaluate": ("architectures", "networks", "protocols"),
    "compute": ("backend", "address", "device", "workers", "threads", "store"),
    "run": ("methods", "baselines"),
    "tune": ("trials", "searcher", "scheduler", "budget", "objective"),
}
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
        usual = {"__".join(filter(None, ("setting", section, leaf))) for section in USUAL for leaf in USUAL[section]}
        every = bool(ctx.meta.get(_EVERY))
        groups: dict[str | None, list[tuple[str, str]]] = {None: []}
        hidden = 0
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not record[0]:
                continue
            name = parameter.name or ""
            is_setting = name.startswith("setting__")
            if is_setting and not every and name not in usual:
                hidden += 1
                continue
            section = name.removeprefix("setting__").rpartition("__")[0] if is_setting else None
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
