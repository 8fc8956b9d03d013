"""Several processes that share one distillation: each matches some of the iteration's segments, all make the update.

Every member keeps the whole state. What travels per iteration is one gradient per segment, gathered by all and added up
in the segments' order (`core.methods.iteration.average`): a team's bytes are those of one process, whatever its size.
The processes are joined by torch.distributed; who starts them is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.base import Draw, Gradients, Problem, State
from ast_ray.core.methods.iteration import one_after_another
from ast_ray.errors import WorkerLostError

PATIENCE = timedelta(days=1)
"""How long a member waits for the others: they validate and write meanwhile. Lost ones are noticed by their host."""


class Team(Protocol):
    """The processes that take part. Member 0 validates, writes and reports; the others follow its state."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def places(self, config: DistillConfig) -> range:
        """The places of an iteration's segments that are matched here."""

    def share(self, value: Any) -> Any:
        """Member 0's value, plain data and tensors on the CPU, on every member."""

    def match(self, problem: Problem, state: State, draws: Sequence[Draw]) -> Sequence[Gradients]:
        """`core.methods.iteration.Units`: the same results on every member."""


class Alone:
    """One process: nothing to share."""

    rank, size = 0, 1

    def places(self, config: DistillConfig) -> range:
        """All of them."""
        return range(config.segments)

    def share(self, value: Any) -> Any:
        """The value itself."""
        return value

    def match(self, problem: Problem, state: State, draws: Sequence[Draw]) -> Sequence[Gradients]:
        """All of them, here."""
        return one_after_another(problem, state, draws)


ALONE = Alone()


class ProcessTeam:
    """The members of torch.distributed's default process group, joined before; on GPUs of their own with NCCL."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._on_gpu = "nccl" in dist.get_backend()

    def places(self, config: DistillConfig) -> range:
        """Every ``size``-th."""
        return self._share(config.segments)

    def share(self, value: Any) -> Any:
        """See `Team.share`."""
        box = [value if self.rank == 0 else None]
        with _peers():
            dist.broadcast_object_list(box)
        return box[0]

    def match(self, problem: Problem, state: State, draws: Sequence[Draw]) -> Sequence[Gradients]:
        """Match this member's draws and gather the others'; members with fewer draws fill up with zeros."""
        mine = [problem.gradients(state, draws[place]) for place in self._share(len(draws))]
        # Every member has at least one draw: a job has no more members than units.
        like, rounds = mine[0], -(-len(draws) // self.size)
        packed = [pack(one) for one in mine]
        block = torch.zeros(rounds, len(packed[0]), dtype=packed[0].dtype, device=packed[0].device)
        for row, one in zip(block, packed, strict=False):
            row.copy_(one)
        blocks = self._gather(block)
        return [unpack(blocks[place % self.size][place // self.size], like) for place in range(len(draws))]

    def _share(self, units: int) -> range:
        return range(self.rank, units, self.size)

    def _gather(self, block: Tensor) -> list[Tensor]:
        sent = block if self._on_gpu else block.cpu()
        blocks = [torch.empty_like(sent) for _ in range(self.size)]
        with _peers():
            dist.all_gather(blocks, sent)
        return [one.to(block.device) for one in blocks]


@contextmanager
def _peers() -> Iterator[None]:
    """Say in our own words that a collective failed because another member is gone."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerLostError(f"a worker of the team is gone ({str(error).splitlines()[0]})") from error


def pack(result: Gradients) -> Tensor:
    """Return loss, parts and gradients in one vector: [1 + parts + number of values learned]."""
    scalars = torch.stack([result.loss, *result.parts])
    learned = [gradient.flatten() for gradient in result.learned.values()]
    return torch.cat([scalars.to(learned[0]), *learned])


def unpack(packed: Tensor, like: Gradients) -> Gradients:
    """Return what `pack` packed; ``like`` has the same names and shapes."""
    numbers = 1 + len(like.parts)
    loss, *parts = packed[:numbers].unbind()
    sizes = [gradient.numel() for gradient in like.learned.values()]
    learned = {
        name: values.reshape(gradient.shape)
        for (name, gradient), values in zip(like.learned.items(), packed[numbers:].split(sizes), strict=True)
    }
    return Gradients(loss, learned, tuple(parts))
