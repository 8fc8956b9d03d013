"""Help pages in sections: the command's own options first, then the settings as the configuration groups them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import click

from ast_ray.config import Config


def section_titles() -> dict[str, str]:
    """Section name -> first line of its docstring; the top level is ``""``."""
    hints = get_type_hints(Config)
    sections = [item.name for item in fields(Config) if is_dataclass(hints[item.name])]
    return {"": "The whole run", **{name: (hints[name].__doc__ or "").splitlines()[0].rstrip(".") for name in sections}}


class SettingsCommand(click.Command):
    """A command whose settings are listed section by section.

    Unknown options are handed on as arguments: `options.build_config` tells them with everything else that is wrong.
    """

    ignore_unknown_options = True

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write options in groups."""
        groups: dict[str | None, list[tuple[str, str]]] = {None: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not record[0]:
                continue
            name = parameter.name or ""
            section = name.removeprefix("setting__").rpartition("__")[0] if name.startswith("setting__") else None
            groups.setdefault(section, []).append(record)
        with formatter.section("Options"):
            formatter.write_dl(groups.pop(None))
        titles = section_titles()
        for section, records in groups.items():
            title = titles.get(section or "", "")
            with formatter.section(f"Settings: {section} - {title}" if section else f"Settings: {title}"):
                formatter.write_dl(records)
