"""Read the coming iteration's segment while this one is matched: draws come from counters, so it is known ahead."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.distillation import Experts, draw_start_epoch
from ast_ray.core.rng import stream

Key = tuple[int, int, int]


class Prefetching:
    """Experts in front of others (see `core.distillation.Experts`); what was not foreseen is read when it is asked for.

    One segment is held at most.
    """

    def __init__(self, experts: Experts, config: DistillConfig, seed: int) -> None:
        self._experts, self._config, self._seed = experts, config, seed
        self._next: Key | None = None
        self._coming: tuple[Key, Future[list[Tensor]]] | None = None
        self.hits = 0

    def __len__(self) -> int:
        """Number of experts."""
        return len(self._experts)

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        """See `Experts.segment`; an error of the reading ahead is raised here."""
        coming, self._coming = self._coming, None
        if coming is None or coming[0] != (expert_id, start_epoch, length):
            found = self._experts.segment(expert_id, start_epoch, length)
        else:
            found = coming[1].result()
            self.hits += 1
        self._start()
        return found

    def look_ahead(self, iteration: int, last_start_epoch: int) -> None:
        """Say that ``iteration`` is about to run, after a start epoch; reading goes on to the one behind it."""
        _, start_epoch = self._draw(iteration, last_start_epoch)
        expert_id, next_epoch = self._draw(iteration + 1, start_epoch)
        self._next = (expert_id, next_epoch, self._config.expert_epochs)

    def _start(self) -> None:
        """Begin to read what comes next, in a thread that nobody has to end."""
        if self._next is None:
            return
        key, self._next, future = self._next, None, Future[list[Tensor]]()

        def read() -> None:
            try:
                future.set_result(self._experts.segment(*key))
            except Exception as error:  # raised where the segment is asked for
                future.set_exception(error)

        threading.Thread(target=read, name="prefetch", daemon=True).start()
        self._coming = (key, future)

    def _draw(self, iteration: int, last: int) -> tuple[int, int]:
        """What `core.distillation.iterate` will draw."""
        choice = stream(self._seed, "distill", iteration, "start")
        expert_id = int(torch.randint(len(self), (), generator=choice))
        return expert_id, draw_start_epoch(self._config, last, choice)
