"""Standard output and standard error: JSON alone where it is asked for, any terminal's encoding, a full disk behind."""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import TextIO

_HANDLER = "ast_ray.nearest"
_NEAREST = {"±": "+-", "–": "-", "—": "-", "…": "...", "×": "x", "²": "2", "←": "<-", "→": "->"}
_output: ContextVar[TextIO | None] = ContextVar("output", default=None)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """Spell characters that a stream cannot take in ones that it can."""
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    spelt = (_NEAREST.get(one) or one.encode("ascii", "backslashreplace").decode("ascii") for one in part)
    return "".join(spelt), error.end


def prepare() -> None:
    """Let no character end a command: a terminal may know ASCII only, a file's name may be no text."""
    codecs.register_error(_HANDLER, _nearest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)


@contextmanager
def json_alone() -> Iterator[None]:
    """Send what anybody prints in the block to standard error; only `say_json` writes to standard output."""
    token = _output.set(_output.get() or sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _output.reset(token)


def say_json(value: object) -> None:
    """Write one line of JSON to standard output; numbers that JSON does not have become null."""
    stream = _output.get() or sys.stdout
    stream.write(json.dumps(_finite(value), allow_nan=False) + "\n")
    stream.flush()


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flushed(code: int) -> int:
    """Flush standard output at the end; return the exit code, 1 where what was written did not arrive.

    A reader that went away (``ast-ray info RUN | head -1``) is no news; a full disk is.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        if error.errno != errno.EPIPE and code == 0:
            print(f"error: standard output: {error.strerror}", file=sys.stderr)  # noqa: T201
        return code or 1
    return code
