"""Progress from workers to the driver: one small actor that workers post to and the driver empties."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ast_ray.telemetry.progress import ProgressSink, Update

_INTERVAL = 0.2


class ProgressHub:
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
    """Start a board actor beside the driver, so that it is lost with no other machine; it takes no CPU."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1)(ProgressHub).options(scheduling_strategy=here).remote()


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
        """Post a message and wait until it is kept: the job may end, and its worker with it, right after.

        A message that meets the board being restarted is lost; the job is not.
        """
        with suppress(RayActorError):
            ray.get(self._board.say.remote(message))


def forward(board: Any, sink: ProgressSink) -> None:
    """Move what the board holds to the driver's sink."""
    try:
        updates, messages = ray.get(board.take.remote())
    except RayActorError:  # being restarted: there is another look soon
        return
    for update in updates:
        sink.update(update)
    for message in messages:
        sink.say(message)
