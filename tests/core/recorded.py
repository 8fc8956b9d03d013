"""A small distillation in memory: settings, trajectories that note what was read, and the comparison of states."""

from __future__ import annotations

import torch
from torch import Tensor

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.base import State
from ast_ray.core.rng import stream

CONFIG = DistillConfig(
    syn_steps=4, expert_epochs=2, max_start_epoch=3, student_lr=0.05, outer="sgd", lr_img=0.5, lr_lr=1e-3, rho=0.05
)


class Recorded:
    """Trajectories in memory: random walks from a network's weights; notes what was read."""

    def __init__(self, start: Tensor, count: int = 2, epochs: int = 6) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.trajectories = []
        for expert in range(count):
            generator, walk = stream(expert, "walk"), [start]
            for _ in range(epochs):
                walk.append(walk[-1] + 0.03 * torch.randn(start.shape, generator=generator, dtype=start.dtype))
            self.trajectories.append(walk)

    def __len__(self) -> int:
        return len(self.trajectories)

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        self.asked.append((expert_id, start_epoch, length))
        return self.trajectories[expert_id][start_epoch : start_epoch + length + 1]


def same(a: State, b: State) -> bool:
    """Tell whether two states have the same bytes."""
    return a.numbers == b.numbers and all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def copied(state: State) -> State:
    """Return a state with memory of its own."""
    return state.changed({name: tensor.clone() for name, tensor in state.tensors.items()})
