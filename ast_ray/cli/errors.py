"""Errors as messages and exit codes: 2 configuration, 3 divergence, 1 anything else.

A command that shows results and lacks some ends with 3 or 1 too: 3 where a setting has to change, 1 where the same
command may do. Ctrl-C is 130, SIGTERM 143, SIGHUP 129. Whatever escapes a command is told in one message, never as a
trace of calls; `TRACE` in the environment shows that too.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import click
from rich.console import Console

from ast_ray.cli.streams import json_alone, say_json
from ast_ray.cli.terminal import Terminal
from ast_ray.config.address import scrubbed
from ast_ray.config.files import reason
from ast_ray.config.titles import set_title
from ast_ray.errors import AstRayError, ConfigError, DivergenceError, counted
from ast_ray.signals import Ended, cause, exit_code, interruption
from ast_ray.storage.atomic import FULL
from ast_ray.telemetry.failure import Failure

_LONGEST = 500
TRACE = "AST_RAY_TRACE"
OURS_NOT = (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError)
"""Errors that click tells by itself, or that nobody has to be told."""


# What Python says of paths that cannot be, wherever they were given.
_PATHS = {
    "Could not determine home directory": "a path begins with ~ and a name that is no user of this machine",
    "embedded null": "a path holds a null character",
}


@dataclass(frozen=True)
class Explained:
    """An error as it is told: kind and message for scripts, and the exit code."""

    kind: str
    message: str
    exit_code: int = 1


@contextmanager
def reported(console: Console, *, as_json: bool, resume: Callable[[], str]) -> Iterator[None]:
    """Render errors of the block and exit with their code; with ``as_json`` nothing but JSON goes to stdout."""
    with json_alone() if as_json else nullcontext():
        try:
            yield
        except OURS_NOT:
            raise
        except KeyboardInterrupt as error:
            ended = error if isinstance(error, Ended) else interruption()  # Ray raises one of its own
            message = f"{cause(ended)}; what finished is kept. Go on with:\n  {resume()}"
            _render(console, Explained("Interrupted", message), f"\n{message}", as_json=as_json)
            sys.exit(exit_code(ended))
        except Exception as error:  # the last resort: nobody is shown a trace who did not ask for it
            fail(error, console, as_json=as_json)


def fail(error: Exception, console: Console | None = None, *, as_json: bool) -> NoReturn:
    """Tell an error and exit with its code."""
    console = console or Terminal(stderr=True)
    if os.environ.get(TRACE):
        shown = "".join(traceback.format_exception(error))
        console.print(shown, highlight=False, markup=False, soft_wrap=True)
    told = explained(error)
    _render(console, told, "error: " + "\n  ".join(told.message.splitlines()), as_json=as_json)
    sys.exit(told.exit_code)


def explained(error: BaseException) -> Explained:
    """Find the words for an error: its own where it is ours, the machine's trouble, or that it is a mistake here."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and not isinstance(error, AstRayError):  # of a task on Ray
        return explained(cause)
    notes = getattr(error, "__notes__", [])
    if isinstance(error, AstRayError):
        lines = [str(error), *notes]
        if isinstance(error, ConfigError):
            count = len(error.problems)
            lines.insert(0, f"{counted(count, 'problem')} in the settings; nothing was started")
        return Explained(type(error).__name__, "\n".join(lines), error.exit_code)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        text = "the memory is used up; lower batch sizes or network.width, or use data.placement = stream"
        return Explained("ResourceError", "\n".join([text, *notes]))
    if isinstance(error, OSError):
        where = shown_path(error.filename) if error.filename is not None else "a file, or the standard output"
        todo = "; free space, then give the same command again" if error.errno in FULL else ""
        return Explained("ResourceError", "\n".join([f"{where}: {reason(error)}{todo}", *notes]))
    if told := next((told for words, told in _PATHS.items() if words in str(error)), ""):
        return Explained("ConfigError", "\n".join([told, *notes]), ConfigError.exit_code)
    text = f"unexpected {type(error).__name__}: {reason(error)}"
    hint = f"this should not happen; {TRACE}=1 in the environment shows where it did"
    return Explained("UnexpectedError", "\n".join([text, *notes, hint]))


def end_with(console: Console, failed: Sequence[Mapping[str, Any]], *, run: bool = True) -> None:
    """Say last what is missing and what to change, and exit with the code for it; nothing where nothing failed.

    ``run`` tells commands for run directories from the evaluation of single sets.
    """
    if not failed:
        return
    for line in missing_lines(failed, run=run):
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(DivergenceError.exit_code if any(row["lasting"] for row in failed) else AstRayError.exit_code)


def missing_lines(failed: Sequence[Mapping[str, Any]], *, run: bool = True) -> list[str]:
    """Return what is missing from the results, one by one with what to change, and how to go on."""
    failures = [Failure.of_row(row) for row in failed]
    lines = []
    for failure in failures:
        advice = f"; {failure.advice}" if failure.advice else ""
        lines.append(f"missing: {set_title(failure.set_name)}, {failure.what}{advice}")
    lasting = [failure for failure in failures if failure.lasting]
    if len(lasting) < len(failures):
        lines.append("The same command again goes on from what is kept.")
    if lasting:
        lines.append("The same settings fail in the same way.")
    if run and any(failure.ends_method for failure in lasting):
        lines[-1] += (
            " With others in the same folder everything finished is kept; --mtt-settings NAME=VALUE changes MTT alone, "
            "--methods leaves a method out."
        )
    if run and any(failure.stage == "evaluation" for failure in lasting):
        lines[-1] += " Sets that are there can be evaluated with other rates by ast-ray evaluate."
    return lines


def shown_path(name: object) -> str:
    """A path as it is told: cut where it is too long to be meant."""
    text = os.fsdecode(name) if isinstance(name, str | bytes) else str(name)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _render(console: Console, told: Explained, shown: str, *, as_json: bool) -> None:
    """For people on stderr, unwrapped so that paths and commands can be copied; for scripts as JSON on stdout."""
    if as_json:
        with suppress(OSError):  # the error may be that nothing can be written there
            say_json({"error": {"type": told.kind, "message": scrubbed(told.message)}})
    style = None if told.kind == "Interrupted" else "red"
    with suppress(OSError):  # the exit code is left
        console.print(scrubbed(shown), style=style, highlight=False, markup=False, soft_wrap=True)
