"""Share the experts of a search: each is trained once, under a lease that ends with the trial that holds it.

`Leases` is plain Python; the clock is an argument. The named actor `buffers` holds one, and `Buffers` is its client. A
trial trains in its own process with its own resources, so nothing nested can wait for a free CPU.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from ast_ray.config.identity import fingerprint
from ast_ray.errors import DivergenceError
from ast_ray.search.trial import ExpertCost, Trial, train_for
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.telemetry.progress import ProgressSink

READY = "ready"
TRAIN = "train"
WAIT = "wait"
BROKEN = "broken"


@dataclass(frozen=True)
class Answer:
    """``ready``: all there. ``train``: this expert is yours. ``wait``: others are at it. ``broken``: cannot be had."""

    kind: str
    expert_id: int = -1
    reason: str = ""


@dataclass
class _Lease:
    holder: str
    seen: float


class Leases:
    """Hands out the missing experts of each buffer, each to one holder at a time.

    A holder that asks again gets what it held (it was restarted); one that was not heard of for ``patience`` seconds
    loses its expert to the next who asks.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._held: dict[tuple[str, int], _Lease] = {}
        self._broken: dict[str, str] = {}

    def ask(self, buffer: str, missing: list[int], holder: str, now: float) -> Answer:
        """Answer a holder who needs a buffer of which ``missing`` experts have no file yet."""
        if buffer in self._broken:
            return Answer(BROKEN, reason=self._broken[buffer])
        if not missing:
            return Answer(READY)
        for expert_id in missing:
            lease = self._held.get((buffer, expert_id))
            if lease is None or lease.holder == holder or now - lease.seen > self._patience:
                self._held[buffer, expert_id] = _Lease(holder, now)
                return Answer(TRAIN, expert_id)
        return Answer(WAIT)

    def beat(self, buffer: str, expert_id: int, holder: str, now: float) -> None:
        """The holder is alive; also restores leases after the keeper itself was restarted."""
        lease = self._held.get((buffer, expert_id))
        if lease is None or lease.holder == holder:
            self._held[buffer, expert_id] = _Lease(holder, now)

    def done(self, buffer: str, expert_id: int, holder: str) -> None:
        """The holder has finished, or gives the expert back."""
        lease = self._held.get((buffer, expert_id))
        if lease is not None and lease.holder == holder:
            del self._held[buffer, expert_id]

    def drop(self, holder: str) -> None:
        """The holder is known to be dead: all it held is free."""
        self._held = {key: lease for key, lease in self._held.items() if lease.holder != holder}

    def give_up(self, buffer: str, reason: str) -> None:
        """No one can train this buffer: tell everyone who asks."""
        self._broken[buffer] = reason


NAME = "buffers"
PATIENCE = 20.0
_BEAT = 2.0
_LOOK = 0.5
_HOLD = 20.0


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
    """Provides a trial's experts through the actor (see `search.trial.ExpertProvider`)."""

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
