"""The interface through which work reports its progress, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Update:
    """``done`` of ``total`` units of the job ``key``; ``note`` is a short text beside the bar.

    With ``failed`` the job has ended without a result, and the numbers say nothing.
    """

    key: str
    done: int
    total: int
    note: str = ""
    failed: bool = False


class ProgressSink(Protocol):
    """Receives updates and messages; cheap enough to call every step."""

    def update(self, update: Update) -> None:
        """Show how far a job is."""

    def say(self, message: str) -> None:
        """Show a sentence the user should read, once."""


class Silent:
    """A sink that shows nothing."""

    def update(self, update: Update) -> None:
        """Ignore."""

    def say(self, message: str) -> None:
        """Ignore."""
