"""Read the coming segment while this one is matched: draws come from counters, so it is known ahead."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.base import Experts
from ast_ray.core.methods.segment_draws import draw_where

Key = tuple[int, int, int]


class Prefetching:
    """Wrap `core.methods.base.Experts`: read the next segment in a background thread, and others when asked for.

    ``places`` are those of the iteration's segments that are matched here. One segment is held at most.
    """

    def __init__(self, experts: Experts, config: DistillConfig, seed: int, places: Sequence[int] = (0,)) -> None:
        self._experts = experts
        self._config = config
        self._seed = seed
        self._places = places
        self._ahead: list[Key] = []
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
        self._start((expert_id, start_epoch, length))
        return found

    def look_ahead(self, iteration: int, last_start_epoch: int) -> None:
        """Say that ``iteration`` is about to run, after a start epoch; reading goes on to the one behind it."""
        _, first = self._draw(iteration, last_start_epoch)
        draws = [self._draw(iteration, last_start_epoch, place) for place in self._places]
        draws += [self._draw(iteration + 1, first, place) for place in self._places[:1]]
        self._ahead = [(expert_id, epoch, self._config.expert_epochs) for expert_id, epoch in draws]

    def _start(self, key: Key) -> None:
        """Begin to read what comes after ``key``, in a thread that nobody has to end."""
        if not self._ahead:
            return
        self._ahead = self._ahead[self._ahead.index(key) + 1 if key in self._ahead else 1 :]
        if not self._ahead:
            return
        key, future = self._ahead[0], Future[list[Tensor]]()

        def read() -> None:
            try:
                future.set_result(self._experts.segment(*key))
            except Exception as error:  # raised where the segment is asked for
                future.set_exception(error)

        threading.Thread(target=read, name="prefetch", daemon=True).start()
        self._coming = (key, future)

    def _draw(self, iteration: int, last: int, place: int = 0) -> tuple[int, int]:
        """Return what `core.methods.iteration.iterate` will draw."""
        return draw_where(self._config, self._seed, len(self), iteration, place, last)
