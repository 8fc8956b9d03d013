"""One distillation iteration of a ConvNet on random data, as the benchmarks of matching run it."""

from __future__ import annotations

from dataclasses import replace

import torch
from measure import as_in_a_run

from ast_ray.config import Config, apply_overrides
from ast_ray.config.engine import Choice, Machine, choose
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.core.methods.trajectory import DistillState, Problem, iterate
from ast_ray.core.networks import build
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from ast_ray.stages.engine import build_engine, machine

CLASSES, SHAPE = 10, (3, 32, 32)


class Walk:
    """Stand-in experts: a random walk of the right size."""

    def __init__(self, theta: torch.Tensor) -> None:
        self._theta = theta

    def __len__(self) -> int:
        return 1

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[torch.Tensor]:
        """theta_t and ``length`` random moves on."""
        generator = stream(0, "walk", expert_id, start_epoch)
        moves = [0.01 * torch.randn(self._theta.shape, generator=generator).to(self._theta) for _ in range(length)]
        return [self._theta, *(self._theta + sum(moves[: i + 1]) for i in range(length))]


class Iteration:
    """Call it to run the next iteration."""

    def __init__(self, config: Config, device: str) -> None:
        network = build(config.network, SHAPE, CLASSES, stream(0, "network")).to(device)
        labels = torch.arange(CLASSES, device=device).repeat_interleave(config.distill.ipc)
        images = torch.randn(len(labels), *SHAPE, generator=stream(0, "images")).to(device)
        here: Machine = machine(ComputeConfig(device=device))  # type: ignore[arg-type]
        self.choice: Choice = choose(config, SHAPE, CLASSES, here)
        self.parameters = flatten(network).numel()
        self.problem = Problem(
            network,
            labels,
            Walk(flatten(network)),
            replace(config.distill, gradient=self.choice.method),
            0,
            build_engine(self.choice, network, config),
        )
        self.state = DistillState.begin(images, 0.01)

    def __call__(self) -> None:
        """Run it."""
        with as_in_a_run(self.problem.config.precision):
            self.state, _ = iterate(self.problem, self.state)


def settings(**values: object) -> Config:
    """The defaults with some of ``network.`` and ``distill.`` changed: ``network__width=64``."""
    fixed: dict[str, object] = {"distill.rho": 0.01, "distill.lr_img": 1e-6, "distill.lr_lr": 0.0}
    fixed |= {name.replace("__", "."): value for name, value in values.items()}
    return apply_overrides(Config(), fixed)
