"""Expert training: the gradient penalty against a plain step, a loader's epoch, and several experts at once.

    python benchmarks/experts.py [--device cuda] [--width 128] [--batch 256] [--together 8]

Three figures on random images of 3x32x32, sides alternating in one run: an AST step (penalty on) over a plain step,
both ours; an epoch of ours against PyTorch's DataLoader over single samples and a module with an optimizer; k experts
at once against one after the other.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from measure import alternate, conv_rate, finish, ratio, spread, told
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ast_ray.config.presets.cost import network_cost
from ast_ray.config.presets.datasets import DATASETS
from ast_ray.config.settings import Config, ExpertConfig, NetworkConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.expert import train_expert
from ast_ray.core.expert_batch import train_experts_together
from ast_ray.core.networks import Network, build
from ast_ray.core.rng import stream

SHAPE, CLASSES = (3, 32, 32), 10


def network_of(width: int, number: int, device: str) -> Network:
    """A fresh ConvNet-3."""
    return build(NetworkConfig(width=width), SHAPE, CLASSES, stream(0, "network", number)).to(device)


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


def drain(records: Iterator[object]) -> None:
    """Train to the end."""
    for _ in records:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1, help="steps of an epoch")
    parser.add_argument("--together", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    device, width = given.device, given.width
    generator = stream(0, "images")
    host = torch.randn(given.batch * given.steps, *SHAPE, generator=generator)
    host_labels = torch.randint(CLASSES, (len(host),), generator=generator)
    images, labels = host.to(device), host_labels.to(device)
    ast = ExpertConfig(epochs=1, batch_size=given.batch)
    plain = dataclasses.replace(ast, penalty_weight=0.0, clip_schedule="constant")
    ids = list(range(given.together))
    networks = [network_of(width, number, device) for number in ids]

    def ours(config: ExpertConfig, number: int = 0) -> None:
        drain(train_expert(networks[number], images, labels, config, seed=0, expert_id=number))

    def one_after_the_other() -> None:
        for number in ids:
            ours(plain, number)

    times = alternate(
        {
            "AST": lambda: ours(ast),
            "plain": lambda: ours(plain),
            "loader": lambda: loader_epoch(width, host, host_labels, plain, device),
            "one after the other": one_after_the_other,
            "at once": lambda: drain(train_experts_together(networks, images, labels, plain, seed=0, expert_ids=ids)),
        },
        given.rounds,
    )
    for name, found in times.items():
        print(f"{name}: {spread(found)}")
    config = Config(network=NetworkConfig(width=width))
    forward = network_cost(config, DATASETS["cifar10"]).forward * len(images)
    floor = 3 * forward / conv_rate(device)
    figures = {
        "penalty_cost": ratio(times["AST"], times["plain"]),
        "against_loader": ratio(times["loader"], times["plain"]),
        "at_once": ratio(times["one after the other"], times["at once"]),
    }
    print(f"AST step over plain step: {told(figures['penalty_cost'])} (convolutions counted: 9 units to 3)")
    print(f"ours against the loader: {told(figures['against_loader'])}")
    print(f"{given.together} at once against one after the other: {told(figures['at_once'])}")
    print(f"floor of a plain epoch: {floor:.4f} s at the machine's convolution rate")
    finish("experts", {**figures, "floor_seconds": floor, "seconds": times, "settings": vars(given)})


if __name__ == "__main__":
    main()
