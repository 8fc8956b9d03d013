"""Options made from the settings' schema, and the configuration they add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from ast_ray.config import Config, DataConfig, Setting, apply_overrides, check, load_yaml, problems_of, schema
from ast_ray.config.checks import address_problems, unread_settings, unused_settings
from ast_ray.config.loading import flatten, to_dict
from ast_ray.config.presets import DATASETS, PRESETS, preset
from ast_ray.config.presets.reason import reason_for_name
from ast_ray.config.schema import aliases
from ast_ray.errors import ConfigError, Problem, suggestion

_HIDDEN, PREFIX = {"preset"}, "setting__"
# Options that others have, and what does their work here.
_INSTEAD = {"--resume": "; the same command again goes on where it stopped"}


def _flags(item: Setting) -> list[str]:
    """``--section.field-name``, and ``--field-name`` where that is unique."""
    full = "--" + item.path.replace("_", "-")
    short = "--" + item.leaf.replace("_", "-")
    unique = aliases().get(item.leaf) == item.path
    return [full, short] if unique and short != full else [full]


def _help(item: Setting) -> str:
    symbol = f" [{item.symbol}]" if item.symbol else ""
    choices = f" One of: {', '.join(item.choices)}." if item.choices else ""
    default = ",".join(str(part) for part in item.default) if isinstance(item.default, tuple) else item.default
    shown = "none" if default == "" else default
    return f"{item.doc}{symbol}.{choices} Default: {shown}."


def parameter(item: Setting) -> str:
    """The name under which click hands an option over."""
    return PREFIX + item.path.replace(".", "__")


class OptionText(click.types.StringParamType):
    """Text that is no option of its command: ``--out --json`` is what an unset variable of a script leaves."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text; fail for the name of an option."""
        text = super().convert(value, param, ctx)
        known = [item for item in ctx.command.params if isinstance(item, click.Option)] if ctx else []
        if any(text in (*item.opts, *item.secondary_opts) for item in known):
            self.fail(f"{text!r} is an option, where a value was expected (an unset variable?)", param, ctx)
        return text


class GivenText(OptionText):
    """Text that is not empty either: that too is what an unset variable leaves, never a wish."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text; fail for an empty one."""
        text = super().convert(value, param, ctx)
        if not text.strip():
            self.fail("empty text (an unset variable?); name a value, or leave it out", param, ctx)
        return text


def without_empty_text(command: click.Command) -> click.Command:
    """Let every argument and option of a command, and of those below it, refuse by its name what is no value.

    Where empty text has a meaning among settings their schema knows.
    """
    for item in command.params:
        setting = (item.name or "").startswith(PREFIX)
        if type(item.type) is click.types.StringParamType:
            item.type = OptionText() if setting else GivenText()
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        without_empty_text(inner)
    return command


def given_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings among click's options that were given, by path."""
    return {
        name.removeprefix(PREFIX).replace("__", "."): value
        for name, value in options.items()
        if name.startswith(PREFIX) and value is not None
    }


def _option(item: Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    kind = item.kind.__name__ if not item.choices else "name"
    bare: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if item.kind is bool else {}
    return click.option(*_flags(item), parameter(item), metavar=kind.upper(), default=None, help=_help(item), **bare)


def some_settings(*paths: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each of these settings, for commands that look at runs: where and with what is the user's."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for path in reversed(paths):
            function = _option(schema()[path])(function)
        return function

    return add


def setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--preset``, ``--config`` and one option per setting."""
    for path in reversed([path for path in schema() if path not in _HIDDEN]):
        function = _option(schema()[path])(function)
    function = click.option(
        "--dataset",
        "dataset_name",
        metavar="NAME",
        help=f"start from the preset of a dataset for --ipc: {', '.join(DATASETS)}; --source says where its images are",
    )(function)
    function = click.option("--config", "config_file", metavar="FILE", help="settings from a YAML file")(function)
    return click.option(
        "--preset",
        "preset_name",
        metavar="NAME",
        help=f"settings to start from, in place of the defaults below; {len(PRESETS)} of them: ast-ray presets list",
    )(function)


def build_config(preset_name: str | None, config_file: str | None, options: dict[str, Any]) -> Config:
    """Preset, then file, then options; checked as a whole.

    Without a preset, ``--dataset`` or ``--source`` with ``--ipc`` choose one; with nothing at all it is digits.

    Raises:
        ConfigError: every problem at once.
    """
    return explained_config(preset_name, config_file, options)[0]


def explained_config(
    preset_name: str | None, config_file: str | None, options: dict[str, Any], *, by_methods: bool = False
) -> tuple[Config, str]:
    """Return what `build_config` does, with the reason why these settings were started from, in words.

    With ``by_methods`` an option that no method of the run reads is a problem too.
    """
    given, problems = given_settings(options), unknown_options(options.pop("unknown", ()))
    base = Config()
    config = None
    why = ""
    try:
        base, why = _start(preset_name, config_file, options.pop("dataset_name", None), given)
        if config_file:
            before, base = base, load_yaml(config_file, base)
            problems += _unused_in_file(before, base, given)
            why = f"settings of {config_file}" + (f" over the preset {preset_name}" if preset_name else "")
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems, *unusable(given)]) from None
    try:
        config = check(apply_overrides(base, given))
        unread = unread_settings(config, given) if by_methods else []
        told = {problem.setting for problem in unread}
        problems += [*unread, *unused_settings(config, [path for path in given if path not in told])]
    except ConfigError as error:
        problems += [*error.problems, *_beside(base, given, error)]
    if config is None or problems:
        raise ConfigError(problems)
    return config, why


def _start(
    preset_name: str | None, config_file: str | None, dataset: str | None, given: dict[str, Any]
) -> tuple[Config, str]:
    """Return the configuration that file and options change, and why it is that one."""
    if dataset is not None and dataset not in DATASETS:
        raise ConfigError([Problem("dataset", dataset, f"unknown dataset{suggestion(dataset, DATASETS)}")])
    if preset_name:
        base = preset(preset_name)
        why = reason_for_name(base)
        if dataset is None:
            return base, why
        named = DATASETS[dataset].data
        data = replace(base.data, source=named.source, subset=named.subset, image_size=named.image_size)
        return replace(base, data=data), f"{why}, on the images of {dataset}"
    if config_file:
        return Config(), ""
    if dataset is None and "data.source" not in given:
        return preset("digits"), "no images were named"
    return _chosen(dataset or "", given)


def _chosen(dataset: str, given: dict[str, Any]) -> tuple[Config, str]:
    """The automatic preset for the data and the ipc among the options; unusable options are left to `check`."""
    from ast_ray.stages.tools.inspect_source import explained_config as choose

    named = DATASETS[dataset].data if dataset else DataConfig()
    if unusable(given):
        return replace(Config(), data=named), ""
    wanted = {name: value for name, value in given.items() if name.startswith("data.") or name == "distill.ipc"}
    asked = apply_overrides(replace(Config(), data=named), wanted)
    base, why = choose(asked.data, asked.distill.ipc, named=dataset)
    return replace(base, distill=replace(base.distill, ipc=asked.distill.ipc)), why


def unknown_options(words: Sequence[str], context: click.Context | None = None) -> list[Problem]:
    """A problem for each word of the command line that is no option, with the nearest one."""
    context = context or click.get_current_context()
    flags = sorted({flag for item in context.command.params for flag in item.opts})
    problems, expects_value = [], False
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("-"):
            leaf = name.rpartition(".")[2].lstrip("-").replace("-", "_")
            same = [f"'--{path.replace('_', '-')}'" for path, item in schema().items() if item.leaf == leaf]
            hint = f"; did you mean {' or '.join(same)}?" if same else _INSTEAD.get(name) or suggestion(name, flags)
            problems.append(Problem("", value, f"{name}: unknown setting{hint}"))
        elif not expects_value:
            problems.append(Problem("", word, f"{word!r}: not expected here; settings are given as --name value"))
        expects_value = name.startswith("-") and not equals
    return problems


def _unused_in_file(before: Config, after: Config, given: dict[str, Any]) -> list[Problem]:
    """A problem for each setting that a file changes and its own outer optimizer does not use."""
    if "distill.outer" in given:
        return []
    values, earlier = flatten(to_dict(after)), flatten(to_dict(before))
    return unused_settings(after, [path for path, value in values.items() if value != earlier[path]])


def unusable(given: dict[str, Any]) -> list[Problem]:
    """A problem for each setting whose value cannot be, whatever the others are."""
    try:
        return address_problems(apply_overrides(Config(), given))
    except ConfigError as error:
        return list(error.problems)


def _beside(base: Config, given: dict[str, Any], error: ConfigError) -> list[Problem]:
    """Problems between settings that show once the unusable values are set aside, so that all are told at once."""
    bad = {problem.setting for problem in error.problems}
    good = {name: value for name, value in given.items() if name not in bad}
    if len(good) == len(given):
        return []
    found = problems_of(apply_overrides(base, good))
    return [problem for problem in found if problem.setting not in bad]
