"""Errors as messages and exit codes: 2 configuration, 3 divergence, 1 anything else a user can act on.

A command that shows results and lacks some ends with 3 or 1 too: 3 where a setting has to change, 1 where the same
command may do. Ctrl-C is 130, SIGTERM 143, SIGHUP 129.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from ast_ray.config.location import scrubbed
from ast_ray.config.titles import set_title
from ast_ray.errors import AstRayError, ConfigError, DivergenceError, counted
from ast_ray.signals import Ended, cause, exit_code, interruption
from ast_ray.telemetry.failure import Failure


@contextmanager
def reported(console: Console, *, as_json: bool, resume: Callable[[], str]) -> Iterator[None]:
    """Render errors of the block and exit with their code."""
    try:
        yield
    except AstRayError as error:
        lines = [str(error), *getattr(error, "__notes__", [])]
        if isinstance(error, ConfigError):
            count = len(error.problems)
            lines.insert(0, f"{counted(count, 'problem')} in the settings; nothing was started")
        message = "\n".join(lines)
        _render(console, type(error).__name__, message, "error: " + "\n  ".join(message.splitlines()), as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as error:
        ended = error if isinstance(error, Ended) else interruption()  # Ray raises one of its own
        message = f"{cause(ended)}; what finished is kept. Go on with:\n  {resume()}"
        _render(console, "Interrupted", message, f"\n{message}", as_json=as_json)
        sys.exit(exit_code(ended))


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


def _render(console: Console, kind: str, message: str, shown: str, *, as_json: bool) -> None:
    """For people on stderr, unwrapped so that paths and commands can be copied; for scripts as JSON on stdout."""
    if as_json:
        print(json.dumps({"error": {"type": kind, "message": scrubbed(message)}}))  # noqa: T201
    style = None if kind == "Interrupted" else "red"
    console.print(scrubbed(shown), style=style, highlight=False, markup=False, soft_wrap=True)
