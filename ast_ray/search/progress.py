"""The interface through which a search reports on its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ast_ray.telemetry.progress import Update


@dataclass(frozen=True)
class TrialRow:
    """The state of one trial: its number in this session, folder name, settings, and the last validation."""

    number: int
    name: str
    status: str
    overrides: Mapping[str, Any]
    iteration: int = 0
    accuracy: float | None = None
    note: str = ""


class SearchSink(Protocol):
    """Receives rows of trials beside updates and messages."""

    def trial(self, row: TrialRow) -> None:
        """Show how a trial stands."""

    def update(self, update: Update) -> None:
        """Show how far a job is."""

    def say(self, message: str) -> None:
        """Show a sentence the user should read, once."""
