"""Progress from workers to the driver: one small actor that workers post to and the driver empties."""

from __future__ import annotations

import time
from typing import Any

import ray

from ast_ray.telemetry.progress import ProgressSink, Update

_INTERVAL = 0.2


class Board:
    """Keeps the latest update of every job and all messages until the driver takes them."""

    def __init__(self) -> None:
        self._updates: dict[str, Update] = {}
        self._messages: list[str] = []

    def post(self, update: Update) -> None:
        """Replace a job's update."""
        self._updates[update.key] = update

    def say(self, message: str) -> None:
        """Keep a message."""
        self._messages.append(message)

    def take(self) -> tuple[list[Update], list[str]]:
        """Hand over and forget."""
        taken = (list(self._updates.values()), self._messages)
        self._updates, self._messages = {}, []
        return taken


def open_board() -> Any:
    """Start a board actor; it takes no CPU."""
    return ray.remote(num_cpus=0)(Board).remote()


class BoardSink:
    """A sink that posts to a board, at most a few times a second per worker."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._last = 0.0

    def update(self, update: Update) -> None:
        """Post unless one was posted a moment ago; the last unit of a job is always posted."""
        now = time.monotonic()
        if now - self._last >= _INTERVAL or update.done >= update.total:
            self._last = now
            self._board.post.remote(update)

    def say(self, message: str) -> None:
        """Post a message and wait until it is kept: the job may end, and its worker with it, right after."""
        ray.get(self._board.say.remote(message))


def forward(board: Any, sink: ProgressSink) -> None:
    """Move what the board holds to the driver's sink."""
    updates, messages = ray.get(board.take.remote())
    for update in updates:
        sink.update(update)
    for message in messages:
        sink.say(message)
