"""The errors a user can meet. Each carries an exit code; `cli` renders them, nothing below it prints.

Everything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self


class AstRayError(Exception):
    """Something a user can act on: bad input, a missing file, a diverged run.

    The text tells all of it. Errors of a job also hold its parts for tables: ``reason`` is what happened and nothing
    else, ``advice`` what to change, ``iteration`` the outer iteration where it happened. Those left out are empty.
    """

    exit_code = 1

    def __init__(self, text: str = "", *, reason: str = "", advice: str = "", iteration: int | None = None) -> None:
        super().__init__(text)
        self.reason = reason or text
        self.advice = advice
        self.iteration = iteration

    def retold(self, text: str) -> Self:
        """Return the same error with another text, by someone who knows more of where it happened."""
        return type(self)(text, reason=self.reason, advice=self.advice, iteration=self.iteration)


_LONGEST = 500


def shown(value: object) -> str:
    """A value as Python writes it, shortened where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}... ({len(text)} characters)"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: which setting, which value, why and what would do."""

    setting: str
    value: object
    reason: str

    def __str__(self) -> str:
        return f"{self.setting} = {shown(self.value)}: {self.reason}" if self.setting else self.reason


class ConfigError(AstRayError):
    """All problems of a configuration at once, found before any work starts."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class DataError(AstRayError):
    """The images cannot be used: missing, truncated, of another size, mislabelled, or too few."""


class StoreError(AstRayError):
    """An artefact is missing, damaged, or belongs to another configuration."""


class DivergenceError(AstRayError):
    """A loss, gradient, step size or weight stopped being finite (or alpha stopped being positive).

    Raised where the iteration is not known, it has the advice as a note (`advised`).
    """

    exit_code = 3


class ResourceError(AstRayError):
    """The machine lacks what was asked for: a GPU, disk space, permission, a Ray cluster."""


class WorkerLostError(ResourceError):
    """A process that shares a job with others is gone; the job can go on from its checkpoint with new ones.

    ``with_node`` says that its whole machine was lost, which is not the job's doing.
    """

    def __init__(self, text: str, *, with_node: bool = False) -> None:
        self.with_node = with_node
        super().__init__(text)

    def __reduce__(self) -> tuple[Callable[[str, bool], WorkerLostError], tuple[str, bool]]:
        return _worker_lost, (str(self), self.with_node)


def _worker_lost(text: str, with_node: bool) -> WorkerLostError:
    return WorkerLostError(text, with_node=with_node)


class TaskError(AstRayError):
    """Some tasks of a stage failed for good; what finished is kept."""


def advised(cause: str, advice: str) -> DivergenceError:
    """Return a divergence whose note is the advice."""
    error = DivergenceError(cause)
    error.add_note(advice)
    return error


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest valid name, or the list of valid names."""
    names = list(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(names)}" if len(names) <= 40 else ""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun in the form that fits it; ``plural`` where it is no regular one.

    >>> counted(1, "image"), counted(2, "class"), counted(3, "batch"), counted(0, "epoch")
    ('1 image', '2 classes', '3 batches', '0 epochs')
    """
    if number == 1:
        return f"1 {noun}"
    regular = f"{noun}es" if noun.endswith(("s", "x", "tch", "sh")) else f"{noun}s"
    return f"{number} {plural or regular}"
