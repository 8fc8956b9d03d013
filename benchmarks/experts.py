"""Expert training: the gradient penalty against a plain step, a loader's epoch, and several experts at once.

    python benchmarks/experts.py [--width 128] [--batch 256] [--precision bf16]
    python benchmarks/experts.py --device cuda --engine eager --together 8 --steps 20

On random images of 3x32x32, sides alternating in one run: an AST step (penalty on) over a plain step, both ours; ours
against the same steps by autograd; a plain epoch of ours against PyTorch's DataLoader over single samples and a module
with an optimizer; k experts at once against one after the other (autograd). The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from measure import alternate, as_in_a_run, conv_rate, finish, ratio, spread, told
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ast_ray.config.cost import network_cost
from ast_ray.config.datasets import DATASETS
from ast_ray.config.settings import Config, ExpertConfig, NetworkConfig
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.experts.training import train_expert, train_experts_together
from ast_ray.core.networks import Network, build
from ast_ray.core.rng import stream
from ast_ray.stages.engine import build_expert_step

SHAPE, CLASSES = (3, 32, 32), 10


def network_of(width: int, number: int, device: str) -> Network:
    """A fresh ConvNet-3."""
    return build(NetworkConfig(width=width), SHAPE, CLASSES, stream(0, "network", number)).to(device)


@as_in_a_run()
def loader_epoch(width: int, images: Tensor, labels: Tensor, config: ExpertConfig, device: str) -> None:
    """One epoch the usual way: single samples, collated on the host, module and optimizer."""
    network = network_of(width, 0, device)
    optimizer = torch.optim.SGD(network.parameters(), lr=config.lr, momentum=0.9, weight_decay=config.weight_decay)
    data: DataLoader[tuple[Tensor, ...]] = DataLoader(
        TensorDataset(images, labels), batch_size=config.batch_size, shuffle=True
    )
    names, generator = operations(config.augmentation), stream(0, "loader")
    for x, y in data:
        x, y = x.to(device), y.to(device)
        loss = F.cross_entropy(network(apply(x, draw(names, len(x), SHAPE[1:], generator))), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Ours:
    """One expert's training, as a run would do it: call it with the settings of a method."""

    def __init__(self, options: argparse.Namespace, images: Tensor, labels: Tensor) -> None:
        self._options, self._images, self._labels = options, images, labels
        self._network = network_of(options.width, 0, options.device)

    def side(self, config: ExpertConfig, engine: str, precision: str = "float32") -> Callable[[], None]:
        """Train one epoch, by this engine."""
        config = dataclasses.replace(config, expert_engine=engine, expert_precision=precision)
        network, compute = NetworkConfig(width=self._options.width), ComputeConfig(device=self._options.device)
        whole = Config(network=network, expert=config, compute=compute)
        step = build_expert_step(self._network, whole, SHAPE, CLASSES, len(self._images))

        def run() -> None:
            with as_in_a_run(precision):
                drain(train_expert(self._network, self._images, self._labels, config, seed=0, expert_id=0, step=step))

        return run


def drain(records: Iterator[object]) -> None:
    """Train to the end."""
    for _ in records:
        pass


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", default="compiled", choices=["eager", "compiled"], help="ours")
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bf16"], help="ours")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1, help="steps of an epoch")
    parser.add_argument("--together", type=int, default=4, help="experts at once; 0 = leave that out")
    parser.add_argument("--together-ast", action="store_true", help="experts at once with the penalty, not plain ones")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = parsed()
    torch.set_num_threads(given.threads)
    device, width = given.device, given.width
    generator = stream(0, "images")
    host = torch.randn(given.batch * given.steps, *SHAPE, generator=generator)
    host_labels = torch.randint(CLASSES, (len(host),), generator=generator)
    images, labels = host.to(device), host_labels.to(device)
    ast = ExpertConfig(epochs=1, batch_size=given.batch)
    plain = dataclasses.replace(ast, penalty_weight=0.0, clip_schedule="constant")
    ours, rate = Ours(given, images, labels), conv_rate(device)
    sides = {
        "AST, autograd": ours.side(ast, "eager"),
        "AST": ours.side(ast, given.engine, given.precision),
        "plain, autograd": ours.side(plain, "eager"),
        "plain": ours.side(plain, given.engine, given.precision),
        "loader": lambda: loader_epoch(width, host, host_labels, plain, device),
    }
    if given.together:
        sides |= together(given, images, labels, ast if given.together_ast else plain)
    times = alternate(sides, given.rounds)
    for name, found in times.items():
        print(f"{name:20} {spread(found)}")
    forward = network_cost(Config(network=NetworkConfig(width=width)), DATASETS["cifar10"]).forward * len(images)
    rate = max(rate, conv_rate(device))
    floors = {"plain": 3 * forward / rate, "AST": 9 * forward / rate}
    figures = {
        "AST step over plain step, both ours": ratio(times["AST"], times["plain"]),
        "AST step by autograd over ours": ratio(times["AST, autograd"], times["AST"]),
        "plain step by autograd over ours": ratio(times["plain, autograd"], times["plain"]),
        "loader-based epoch over ours": ratio(times["loader"], times["plain"]),
    }
    if given.together:
        figures[f"{given.together} experts one by one over at once"] = ratio(times["one by one"], times["at once"])
    for name, value in figures.items():
        print(f"{name}: {told(value)}")
    print(f"floors at the machine's float32 convolution rate: plain {floors['plain']:.3f} s, AST {floors['AST']:.3f} s")
    finish(
        "experts", {"ratios": figures, "floors": floors, "conv_rate": rate, "seconds": times, "settings": vars(given)}
    )


def together(
    given: argparse.Namespace, images: Tensor, labels: Tensor, config: ExpertConfig
) -> dict[str, Callable[[], None]]:
    """Several experts one after the other, and at once, by autograd."""
    ids = list(range(given.together))
    networks = [network_of(given.width, number, given.device) for number in ids]

    @as_in_a_run()
    def one_by_one() -> None:
        for number in ids:
            drain(train_expert(networks[number], images, labels, config, seed=0, expert_id=number))

    @as_in_a_run()
    def at_once() -> None:
        drain(train_experts_together(networks, images, labels, config, seed=0, expert_ids=ids))

    return {"one by one": one_by_one, "at once": at_once}


if __name__ == "__main__":
    main()
