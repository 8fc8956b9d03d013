"""Errors as messages and exit codes: 2 configuration, 3 divergence, 1 anything else a user can act on.

Ctrl-C is 130, SIGTERM 143, SIGHUP 129.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from ast_ray.errors import AstRayError, ConfigError
from ast_ray.signals import Ended, cause, exit_code, interruption


@contextmanager
def reported(console: Console, *, as_json: bool, resume: Callable[[], str]) -> Iterator[None]:
    """Render errors of the block and exit with their code."""
    try:
        yield
    except AstRayError as error:
        lines = [str(error), *getattr(error, "__notes__", [])]
        if isinstance(error, ConfigError):
            count = len(error.problems)
            lines.insert(0, f"{count} problem{'s' if count > 1 else ''} in the settings; nothing was started")
        message = "\n".join(lines)
        _render(console, type(error).__name__, message, "error: " + "\n  ".join(message.splitlines()), as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as error:
        ended = error if isinstance(error, Ended) else interruption()  # Ray raises one of its own
        message = f"{cause(ended)}; what finished is kept. Go on with:\n  {resume()}"
        _render(console, "Interrupted", message, f"\n{message}", as_json=as_json)
        sys.exit(exit_code(ended))


def _render(console: Console, kind: str, message: str, shown: str, *, as_json: bool) -> None:
    """For people on stderr, unwrapped so that paths and commands can be copied; for scripts as JSON on stdout."""
    if as_json:
        print(json.dumps({"error": {"type": kind, "message": message}}))  # noqa: T201
    style = None if kind == "Interrupted" else "red"
    console.print(shown, style=style, highlight=False, markup=False, soft_wrap=True)
