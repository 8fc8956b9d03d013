"""A progress sink that remembers. Imports nothing that takes time: every worker of a test of Ray loads it."""

from __future__ import annotations

from ast_ray.telemetry.progress import Update


class Recorder:
    """Keeps updates and messages in the order they came."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.messages: list[str] = []

    def update(self, update: Update) -> None:
        self.updates.append(update)

    def say(self, message: str) -> None:
        self.messages.append(message)
