"""Files that users name: what is wrong with a path, and what a parser's error comes down to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MISSING = "no such file"
_LONGEST_REASON = 200
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Words of libraries that advise to load the file without their protection, which is no way out for anybody.
_UNSAFE = ("pickle", "weights_only", "weights only", "trust")


def file_problem(path: Path) -> str:
    """Say why a path cannot be opened as a file; empty for a regular file.

    A pipe or a device would block its reader, so the kind is looked at before anything is opened.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"a link to {os.readlink(path)}, where nothing is" if path.is_symlink() else MISSING
    except OSError as error:
        return "links that lead in a circle" if error.errno == errno.ELOOP else f"cannot be read: {reason(error)}"
    except ValueError:
        return "not a path: it holds a null character"
    if stat.S_ISREG(mode):
        return ""
    return f"{next((name for test, name in _KINDS if test(mode)), 'something else')}, not a file"


def reason(error: BaseException) -> str:
    """One short line of an error, without a library's advice to open a file unprotected."""
    text = getattr(error, "strerror", None) or (str(error).strip().splitlines() or [""])[0]
    if any(word in text.lower() for word in _UNSAFE):
        return "it holds more than plain values, refused"
    named = not text or isinstance(error, LookupError | AttributeError | TypeError | AssertionError)
    shown = f"{type(error).__name__}: {text}" if named else text
    return shown.rstrip(": ")[:_LONGEST_REASON]
