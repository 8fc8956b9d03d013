"""Every command that README and docs show exists and takes the options it is shown with. Nothing is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ast_ray.cli.main import main
from ast_ray.cli.options import build_config
from ast_ray.cli.submit import check_command, submit
from ast_ray.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "cluster/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELLS = ("", "bash", "sh", "shell", "console")
_COMMAND = re.compile(r"(\$ )?(ast-ray|make)( |$)")


def lines(text: str) -> list[str]:
    """Commands of ours in the shell blocks, continued lines joined, comments and prompts taken off."""
    found = []
    for language, block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if language in _SHELLS and _COMMAND.match(line):
                found.append(shlex.join(shlex.split(line.removeprefix("$ "), comments=True)))
    return found


COMMANDS = [(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in lines(page.read_text("utf-8"))]
OURS = [(page, line) for page, line in COMMANDS if "ast-ray" in shlex.split(line)[:1]]


def parsed(words: list[str]) -> click.Context:
    """The context of the innermost command; click's own checks are all that runs."""
    command: click.Command = main
    context = main.make_context("ast-ray", list(words))
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found
        context = command.make_context(name, rest, parent=context)
    return context


def check_settings(context: click.Context) -> None:
    """Settings given to a command that takes them name existing ones and have usable values; files are not read."""
    options = {**context.params, "config_file": None}
    if "preset_name" in options:
        try:
            with context:
                build_config(options.pop("preset_name"), options.pop("config_file", None), options)
        except ConfigError as error:
            # A source is a folder of the reader's; everything else has to hold as it stands.
            if [problem for problem in error.problems if "nor an existing path" not in problem.reason]:
                raise


@pytest.mark.parametrize(("page", "line"), OURS)
def test_the_command_parses(page: str, line: str) -> None:
    context = parsed(shlex.split(line)[1:])
    check_settings(context)
    if context.command is submit and context.params["command"]:
        check_command(context.params["command"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_the_page_is_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        compile(block, page.name, "exec")


def commands(group: click.Group, name: str) -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for key, command in group.commands.items():
        path = f"{name} {key}"
        found += commands(command, path) if isinstance(command, click.Group) else [(path, command)]
    return found


@pytest.mark.parametrize(("name", "command"), commands(main, "ast-ray"))
def test_no_option_means_two_things(name: str, command: click.Command) -> None:
    given = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
    assert len(given) == len(set(given)), name


def test_blocks_are_told_apart() -> None:
    text = """
```python
don't = 1
```
ast-ray between the blocks
```
ast-ray one  # a comment
tree/  it's no command
```
```bash
$ ast-ray two \\
    --long
make demo
```
"""
    assert lines(text) == ["ast-ray one", "ast-ray two --long", "make demo"]


def test_pages_and_commands_are_found() -> None:
    pages = {page for page, _ in OURS}
    assert {"README.md", "docs/index.md", "docs/how-to/look.md"} <= pages
    assert len(OURS) > 20


@pytest.mark.parametrize("line", [line for _, line in COMMANDS if line.startswith("make ")])
def test_the_target_exists(line: str) -> None:
    targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(shlex.split(line)[1:]) <= set(targets)


@pytest.mark.parametrize(
    "line",
    [
        "run --preset digits --no-such-option 3",
        "run --preset no-such-preset",
        "run --preset digits --rho much",
        "no-such-command",
        "report --no-such-option runs/digits",
        "report",
    ],
)
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises((click.UsageError, ConfigError)):
        check_settings(parsed(shlex.split(line)))
