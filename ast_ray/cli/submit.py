"""``ast-ray submit``: a command as a job on a running cluster."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from ast_ray.cli.commands import COMMANDS
from ast_ray.cli.errors import reported
from ast_ray.cli.options import given_settings, unknown_options, unusable
from ast_ray.cli.terminal import Terminal
from ast_ray.config.address import address_problem, local_path, local_problem, secret_problem
from ast_ray.errors import ConfigError, Problem, suggestion
from ast_ray.ray_backend import jobs
from ast_ray.signals import exit_code

_FILES = ("--config", "--space")
_WRITE_RUNS = ("run", "experts", "distill", "tune")
_ADDRESS, _BACKEND = "setting__compute__address", "setting__compute__backend"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--address",
    default=jobs.DEFAULT_ADDRESS,
    envvar=jobs.ADDRESS_VARIABLE,
    show_default=True,
    metavar="URL",
    help=f"the cluster's dashboard, as `ray dashboard` forwards it; or {jobs.ADDRESS_VARIABLE}",
)
@click.option("--detach", is_flag=True, help="print the job's name and return; it runs on")
@click.option("--resume", metavar="JOB", help="follow a job again, from its first line to its exit code")
@click.option("--stop", metavar="JOB", help="end a job as Ctrl-C would; the same command goes on with its run later")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def submit(address: str, detach: bool, resume: str | None, stop: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND (run, experts, distill, evaluate, tune, ... with its options) on a cluster and follow it.

    The driver runs on the cluster: this machine may be closed. Ctrl-C only stops following. Files named by --config and
    --space are sent along; every other path is the cluster's, and --out has to be one that all its machines see.
    """
    messages = Terminal(stderr=True)
    with reported(messages, as_json=False, resume=lambda: "ast-ray submit ..."):
        if sum((bool(command), resume is not None, stop is not None)) != 1:
            raise ConfigError([Problem("", "", "give a command to run, or --resume JOB, or --stop JOB")])
        if command:
            check_command(command)
        client = jobs.connect(address)
        if stop is not None:
            was = jobs.stop(client, stop, address=address)
            _say(messages, f"{stop}: asked to stop" if was else f"{stop}: was not running")
            return
        name = resume or _start(client, command, address, messages)
        if detach:
            click.echo(name)
            return
        sys.exit(_follow(client, name, address, messages))


def _start(client: object, command: Sequence[str], address: str, messages: Console) -> str:
    """Send command and files; return the job's name."""
    with tempfile.TemporaryDirectory(prefix="ast-ray-job-") as folder:
        words = with_address(sent(command, Path(folder)))
        for note in notes(words):
            _say(messages, note)
        files = Path(folder) if any(Path(folder).iterdir()) else None
        return jobs.submit(client, words, address=address, folder=files)


def _follow(client: object, name: str, address: str, messages: Console) -> int:
    """Show the log until the job ends and return its exit code; Ctrl-C leaves it running."""
    at = "" if address == jobs.DEFAULT_ADDRESS else f"--address {address} "
    _say(messages, f"job {name}")
    try:
        found = jobs.follow(client, name, lambda text: click.echo(text, nl=False), address=address)
    except KeyboardInterrupt as error:
        _say(messages, f"\ndetached; {name} runs on. Follow it again, or end it, with:")
        _say(messages, f"  ast-ray submit {at}--resume {name}\n  ast-ray submit {at}--stop {name}")
        return exit_code(error)
    if found.status != "SUCCEEDED":
        _say(messages, f"job {name}: {found.status.lower()}, exit code {found.exit_code}")
    return found.exit_code


def _say(messages: Console, text: str) -> None:
    messages.print(text, highlight=False, markup=False, soft_wrap=True)


def check_command(words: Sequence[str]) -> None:
    """Refuse a command here rather than minutes later on the cluster.

    Raises:
        ConfigError: no such command or setting, or a value that cannot be; click.UsageError: malformed options.
    """
    if (out := _value(words, "--out")) and (problem := address_problem(out[1], "out")):
        raise ConfigError([problem])
    files = [(option, given[1]) for option in _FILES if (given := _value(words, option))]
    problems = [problem for option, text in files if (problem := local_problem(text, option.lstrip("-")))]
    if problems := problems or _secrets(words):
        raise ConfigError(problems)
    context = _context(words)
    found = unknown_options(context.params.get("unknown") or (), context)
    found += unusable(given_settings(context.params))
    if found:
        raise ConfigError(found)


def _secrets(words: Sequence[str]) -> list[Problem]:
    """A problem for each address with credentials in it: the words of a job stand on the cluster's dashboard."""
    found, name = [], "address"
    for word in words:
        option, equals, value = word.partition("=")
        is_option = word.startswith("-")
        problem = secret_problem(value if is_option and equals else word, (option if is_option else name).lstrip("-"))
        found += [problem] if problem else []
        name = word if is_option and not equals else "address"
    return found


def _context(words: Sequence[str]) -> click.Context:
    """The context of the innermost command, its options parsed."""
    if words[0] not in COMMANDS:
        raise ConfigError(
            [Problem("command", words[0], f"not a command for a cluster{suggestion(words[0], COMMANDS)}")]
        )
    command, rest = COMMANDS[words[0]], list(words[1:])
    context = command.make_context(words[0], rest, parent=click.Context(click.Group("ast-ray"), info_name="ast-ray"))
    while isinstance(command, click.Group):
        name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None
        command = inner
        context = command.make_context(name, rest, parent=context)
    return context


def _value(words: Sequence[str], option: str) -> tuple[int, str] | None:
    """Return the position of the option's value and the value; None where it is not given."""
    for place, word in enumerate(words):
        if word == option and place + 1 < len(words):
            return place + 1, words[place + 1]
        if word.startswith(f"{option}="):
            return place, word.partition("=")[2]
    return None


def sent(words: Sequence[str], folder: Path) -> list[str]:
    """Copy the files that ``--config`` and ``--space`` name into the folder; return the words with their new names.

    Raises:
        ConfigError: a file is missing.
    """
    words = list(words)
    for option in _FILES:
        found = _value(words, option)
        if found is None or (option == "--space" and not found[1].endswith(".py")):
            continue
        place, value = found
        path = local_path(value, option.lstrip("-"))
        if not path.is_file():
            raise ConfigError([Problem(option.lstrip("-"), value, "no such file")])
        shutil.copy(path, folder / path.name)
        words[place] = path.name if words[place] == value else f"{option}={path.name}"
    return words


def with_address(words: Sequence[str]) -> list[str]:
    """The words with ``--address auto`` where the command takes an address, has none, and is to work on Ray."""
    context = _context(words)
    takes = any(item.name == _ADDRESS for item in context.command.params)
    given = context.params.get(_ADDRESS) is not None or context.params.get(_BACKEND) == "serial"
    return [*words, "--address", "auto"] if takes and not given else list(words)


def notes(words: Sequence[str]) -> list[str]:
    """Return notes to show before the job runs: where its results will lie."""
    out = _value(words, "--out")
    if out is None and words[0] not in _WRITE_RUNS:
        return []
    place = out[1] if out else "runs/..."
    if local_problem(place, "out"):
        return []
    if not place.startswith(("/", "~")):
        return [
            f"warning: {place} is relative: it lies in the job's folder on the head and goes with the cluster; give "
            "--out a URI, or an absolute path on storage that all machines see"
        ]
    return [f"note: {place} has to be on storage that all machines of the cluster see"]
