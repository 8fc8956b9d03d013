"""Errors as messages and exit codes: 2 configuration, 3 divergence, 1 anything else, 130 Ctrl-C.

Whatever escapes a command is told in one message, never as a trace of calls; `TRACE` in the environment shows that too.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import NoReturn

import click
from rich.console import Console

from ast_ray.cli.streams import json_alone, say_json
from ast_ray.config.files import reason
from ast_ray.errors import AstRayError, ConfigError
from ast_ray.store.atomic import FULL

INTERRUPTED, _LONGEST = 130, 500
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
        except KeyboardInterrupt:
            message = f"interrupted; what finished is kept. Go on with:\n  {resume()}"
            _render(console, Explained("Interrupted", message), f"\n{message}", as_json=as_json)
            sys.exit(INTERRUPTED)
        except Exception as error:  # the last resort: nobody is shown a trace who did not ask for it
            fail(error, console, as_json=as_json)


def fail(error: Exception, console: Console | None = None, *, as_json: bool) -> NoReturn:
    """Tell an error and exit with its code."""
    console = console or Console(stderr=True)
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
            lines.insert(0, f"{count} problem{'s' if count > 1 else ''} in the settings; nothing was started")
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


def shown_path(name: object) -> str:
    """A path as it is told: cut where it is too long to be meant."""
    text = os.fsdecode(name) if isinstance(name, str | bytes) else str(name)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _render(console: Console, told: Explained, shown: str, *, as_json: bool) -> None:
    """For people on stderr, unwrapped so that paths and commands can be copied; for scripts as JSON on stdout."""
    if as_json:
        with suppress(OSError):  # the error may be that nothing can be written there
            say_json({"error": {"type": told.kind, "message": told.message}})
    style = None if told.kind == "Interrupted" else "red"
    with suppress(OSError):  # the exit code is left
        console.print(shown, style=style, highlight=False, markup=False, soft_wrap=True)
