"""The named actor `buffers` and its client: every expert of a search is trained once, by a trial that needs it.

A trial trains in its own process with its own resources, so nothing nested can wait for a free CPU, and trials that
need the same buffer share its experts out among themselves.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from ast_ray.config.identity import fingerprint
from ast_ray.errors import DivergenceError
from ast_ray.ray_backend.tune.leases import BROKEN, READY, TRAIN, Answer, Leases
from ast_ray.search.trial import ExpertCost, Trial
from ast_ray.search.trial_experts import train_for
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.telemetry.progress import ProgressSink

NAME = "buffers"
PATIENCE, _BEAT, _LOOK, _HOLD = 20.0, 2.0, 0.5, 20.0


class Buffers:
    """Knows which experts exist (the files say) and who trains which (the leases)."""

    def __init__(self) -> None:
        self._leases = Leases(PATIENCE)
        self._changed = asyncio.Event()

    async def need(self, buffer: Buffer, holder: str) -> Answer:
        """Answer as soon as there is something to do, at the latest after a while with ``wait``."""
        give_in = time.monotonic() + _HOLD
        while True:
            answer = self._leases.ask(buffer.fingerprint, buffer.missing(), holder, time.monotonic())
            if answer.kind in (READY, TRAIN, BROKEN) or time.monotonic() > give_in:
                return answer
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), timeout=_LOOK)
            except TimeoutError:
                continue

    async def beat(self, buffer: str, expert_id: int, holder: str) -> None:
        """See `Leases.beat`."""
        self._leases.beat(buffer, expert_id, holder, time.monotonic())

    async def done(self, buffer: str, expert_id: int, holder: str) -> None:
        """See `Leases.done`."""
        self._leases.done(buffer, expert_id, holder)
        self._changed.set()

    async def drop(self, holder: str) -> None:
        """See `Leases.drop`."""
        self._leases.drop(holder)
        self._changed.set()

    async def give_up(self, buffer: str, reason: str) -> None:
        """See `Leases.give_up`."""
        self._leases.give_up(buffer, reason)
        self._changed.set()


def open_buffers(name: str = NAME) -> Any:
    """Start the actor; it takes no CPU and comes back, with the files as its memory, when its process dies."""
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Buffers).options(name=name).remote()


class SharedExperts:
    """Provides a trial's experts through the actor (see `search.trial.Provide`)."""

    def __init__(self, keeper: Any, holder: str) -> None:
        self._keeper, self._holder = keeper, holder

    def __call__(self, trial: Trial, sink: ProgressSink, cost: ExpertCost) -> None:
        """Train what is free to take, wait for what others train.

        Raises:
            DivergenceError: an expert of this buffer diverged, here or in another trial.
        """
        buffer = trial.buffer
        buffer.prepare()
        if not buffer.missing():
            return
        while True:
            began = time.monotonic()
            answer: Answer = ray.get(self._keeper.need.remote(buffer, self._holder))
            cost.waited += time.monotonic() - began
            if answer.kind == READY:
                return
            if answer.kind == BROKEN:
                raise DivergenceError(answer.reason)
            if answer.kind == TRAIN:
                self._train(trial, answer.expert_id, sink, cost)

    def _train(self, trial: Trial, expert_id: int, sink: ProgressSink, cost: ExpertCost) -> None:
        name = fingerprint(trial.experts)
        try:
            with self._beating(name, expert_id):
                train_for(trial, expert_id, sink, cost)
        except DivergenceError as error:
            ray.get(self._keeper.give_up.remote(name, str(error)))
            raise
        finally:
            ray.get(self._keeper.done.remote(name, expert_id, self._holder))

    @contextmanager
    def _beating(self, name: str, expert_id: int) -> Iterator[None]:
        """Tell the actor every few seconds that this process lives."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(_BEAT):
                self._keeper.beat.remote(name, expert_id, self._holder)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
