"""Errors as messages and exit codes: 2 configuration, 3 divergence, 1 anything else a user can act on, 130 Ctrl-C."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from ast_ray.errors import AstRayError, ConfigError

INTERRUPTED = 130


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
        if as_json:
            print(json.dumps({"error": {"type": type(error).__name__, "message": "\n".join(lines)}}))  # noqa: T201
        console.print(
            "error: " + "\n  ".join("\n".join(lines).splitlines()),
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print(
            f"\ninterrupted; what finished is kept. Go on with:\n  {resume()}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(INTERRUPTED)
