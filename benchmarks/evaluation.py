"""Five fresh networks trained at once on a small set against one after the other.

    python benchmarks/evaluation.py [--device cuda] [--width 128] [--images 10] [--passes 20] [--networks 5]

Sides alternate in one run on random images of 3x32x32; scoring is the same work for both and left out.
"""

from __future__ import annotations

import argparse

import torch
from measure import alternate, as_in_a_run, conv_rate, finish, ratio, spread, told

from ast_ray.config.cost import network_cost
from ast_ray.config.datasets import DATASETS
from ast_ray.config.settings import DSA_ALL, Config, NetworkConfig
from ast_ray.core.networks import Network, build
from ast_ray.core.rng import stream
from ast_ray.core.training import TrainingRecipe, require_finite_loss, train_network, train_networks_together

SHAPE, CLASSES = (3, 32, 32), 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    images = torch.randn(given.images, *SHAPE, generator=stream(0, "images")).to(given.device)
    labels = (torch.arange(given.images) % CLASSES).to(given.device)
    recipe = TrainingRecipe(0.01, given.passes, 256, 0.9, 5e-4, 0, 1.0, DSA_ALL)
    numbers = range(given.networks)

    def fresh() -> list[Network]:
        config = NetworkConfig(width=given.width)
        return [build(config, SHAPE, CLASSES, stream(0, number)).to(given.device) for number in numbers]

    @as_in_a_run()
    def one_after_the_other() -> None:
        for number, network in zip(numbers, fresh(), strict=True):
            require_finite_loss(train_network(network, images, labels, recipe, stream(0, number, "train")), recipe)

    @as_in_a_run()
    def at_once() -> None:
        train_networks_together(fresh(), images, labels, recipe, [stream(0, number, "train") for number in numbers])

    times = alternate({"one after the other": one_after_the_other, "at once": at_once}, given.rounds)
    for name, found in times.items():
        print(f"{name}: {spread(found)}")
    forward = network_cost(Config(network=NetworkConfig(width=given.width)), DATASETS["cifar10"]).forward
    floor = 3 * forward * given.images * given.passes * given.networks / conv_rate(given.device)
    found = ratio(times["one after the other"], times["at once"])
    print(f"at once against one after the other: {told(found)}; floor {floor:.4f} s")
    finish("evaluation", {"at_once": found, "floor_seconds": floor, "seconds": times, "settings": vars(given)})


if __name__ == "__main__":
    main()
