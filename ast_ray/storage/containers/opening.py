"""Open a file that may be missing, damaged, or something else than a file, with one error that names it.

Parsers of foreign bytes raise whatever their authors did not foresee: `parsing` turns all of it into one error. Its
blocks hold calls of parsers alone, so that it hides no mistake of this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ast_ray.config.files import MISSING, file_problem, reason
from ast_ray.errors import AstRayError
from ast_ray.storage import mirror

FOREIGN = "damaged, or not what its name says"


def require_file(path: Path, error: type[AstRayError], *, missing: str = MISSING) -> None:
    """Raise ``error`` unless the path is a regular file, or a link to one; ``missing`` says what is not there."""
    problem = file_problem(path)
    if problem:
        raise error(f"{mirror.shown(path)}: {missing if problem == MISSING else problem}")


@contextmanager
def parsing(path: Path, error: type[AstRayError], *, hint: str = "", told: str = "damaged") -> Iterator[None]:
    """Raise ``error`` for whatever a parser in the block raises: path, what is ``told``, reason and hint."""
    try:
        yield
    except AstRayError:
        raise
    except Exception as problem:  # a library at work on foreign bytes: it may raise anything
        tail = f"; {hint}" if hint else ""
        raise error(f"{mirror.shown(path)}: {told} ({reason(problem)}){tail}") from problem
