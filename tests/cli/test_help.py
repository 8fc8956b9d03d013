from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from click.testing import Result

from ast_ray.cli.help import USUAL
from ast_ray.config import schema

Call = Callable[..., Result]


@pytest.mark.parametrize("command", ["run", "experts", "distill", "evaluate"])
def test_every_setting_is_explained_with_symbol_choices_and_default(call: Call, command: str) -> None:
    result = call(command, "--help-all")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split()).replace("- ", "-")
    for item in schema().values():
        if item.path == "preset":
            continue
        assert f"--{item.path.replace('_', '-')}" in text, item.path
        doc = " ".join(item.doc.split()).replace("- ", "-")
        assert doc in text, item.path
        if item.symbol:
            assert f"{doc} [{item.symbol}]." in text, item.path
        assert all(choice in text for choice in item.choices)
        default = ",".join(item.default) if isinstance(item.default, tuple) else item.default
        after = text[text.index(f"--{item.path.replace('_', '-')}") :]
        after = after[after.index(doc) :]
        found = re.search(r"Default: (.*?)\.(?: |$)", after)
        assert found is not None, item.path
        assert found[1].replace(" ", "") == ("none" if default == "" else str(default)), item.path


@pytest.mark.parametrize("command", ["run", "tune", "evaluate"])
def test_help_shows_what_one_usually_sets_and_where_the_rest_is(call: Call, command: str) -> None:
    few, all_of_it = call(command, "--help").stdout, call(command, "--help-all").stdout
    assert len(few.splitlines()) < len(all_of_it.splitlines()) / 2
    usual = set(USUAL)
    assert usual < schema().keys()
    rare = schema().keys() - usual - {"preset"}
    assert all(f"  --{path.replace('_', '-')}" in few for path in usual)
    assert not any(f"  --{path.replace('_', '-')}" in few for path in rare)
    assert f"{len(rare)} more settings: main {command} --help-all" in few
    assert "--help-all" not in all_of_it.partition("--help-all")[2]


def test_the_commands_are_listed(call: Call) -> None:
    result = call("--help")
    for name in ("run", "experts", "distill", "evaluate", "presets", "info"):
        assert f"\n  {name} " in result.stdout
    assert call("-h").stdout == result.stdout


def test_the_version(call: Call) -> None:
    from ast_ray import __version__

    assert __version__ in call("--version").stdout
