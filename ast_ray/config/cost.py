"""The cost of a configuration, counted from its settings: disk exactly, arithmetic and memory as estimates.

One image forward is F multiply-adds times two. A plain step costs 3F per image; the gradient penalty adds a forward, an
input gradient and its backward, about 6F; one student step with its exact gradient (`core.bilevel.hypergradient`) about
12F. Memory counts the largest graph (four tensors of a block's size per block, held twice over by a double backward),
the N + 1 kept weight vectors, and the real images.
"""

from __future__ import annotations

from dataclasses import dataclass

from ast_ray.config.datasets import DatasetFacts
from ast_ray.config.full_data import full_epochs
from ast_ray.config.methods import matched_methods, method_info
from ast_ray.config.networks import automatic_depth, padded_side
from ast_ray.config.settings import Config

_PLAIN = 3
_PENALTY = 6
_STUDENT = 12
_FLOAT = 4
_SCORED = 500  # images per batch when a network is scored


@dataclass(frozen=True)
class NetworkCost:
    """P, F (floating-point operations of one image forward) and numbers kept per image for one backward."""

    parameters: int
    forward: float
    activations: int


@dataclass(frozen=True)
class Cost:
    """Floating-point operations per stage, peak bytes of memory on the device, bytes of disk."""

    experts: float
    distillation: float
    evaluation: float
    memory: int
    expert_bytes: int
    image_bytes: int

    @property
    def disk(self) -> int:
        """Bytes of experts and decoded images together."""
        return self.expert_bytes + self.image_bytes

    def seconds(self, rate: float, *, workers: int, methods: int) -> float:
        """Time at ``rate`` operations per second and worker; each method's distillation runs on one worker."""
        shared = (self.experts + self.evaluation) / workers
        return (shared + self.distillation / min(workers, max(1, methods))) / rate


@dataclass(frozen=True)
class JobMemory:
    """Peak bytes on the device of one expert and of one evaluated network, estimated; 0 = not known."""

    expert: int
    evaluation: int


def job_memory(config: Config, facts: DatasetFacts) -> JobMemory:
    """Estimate what decides how many experts or evaluations share a GPU; known for ConvNets only.

    Real images are counted as float, the weights with gradient, momentum and the copies of a step.
    """
    if config.network.name != "convnet":
        return JobMemory(0, 0)
    network, batch = network_cost(config, facts), min(config.expert.batch_size, facts.train)
    images = (facts.train + facts.test) * facts.channels * side_of(config, facts) ** 2
    graph = 2 * batch * (2 if config.expert.penalty_weight else 1)
    scored = min(max(config.evaluate.batch_size, _SCORED), max(facts.train, facts.test))
    return JobMemory(
        expert=_FLOAT * (graph * network.activations + 10 * network.parameters + images),
        evaluation=_FLOAT * (2 * scored * network.activations + 6 * network.parameters + images),
    )


def iteration_forwards(config: Config, method: str, facts: DatasetFacts) -> float:
    """Count the arithmetic of one iteration of a method, in forward passes of one image."""
    count, distill = method_info(method).forwards, config.distill
    if count is not None:
        return count(config, facts.classes, facts.train / facts.classes)
    total = distill.ipc * facts.classes
    return distill.segments * distill.syn_steps * min(distill.batch_size or total, total) * _STUDENT


def iteration_memory(config: Config, method: str, facts: DatasetFacts) -> int:
    """Estimate the peak bytes of a distillation that matches real images; 0 where it is not known.

    Counted are the largest graph, the set with its gradient and running quantities, networks and their moments, and
    the real images as float. Known for ConvNets only.
    """
    held = method_info(method).held
    if held is None or config.network.name != "convnet":
        return 0
    network = network_cost(config, facts)
    pixels = facts.channels * side_of(config, facts) ** 2
    networks = 3 * config.feature_regression.pool * 2 if method == "frepo" else 8
    graph = 2 * held(config, facts.classes, facts.train / facts.classes) * network.activations
    images = 5 * config.distill.ipc * facts.classes + facts.train + facts.test
    return int(_FLOAT * (graph + networks * network.parameters + images * pixels))


def side_of(config: Config, facts: DatasetFacts) -> int:
    """Pixels per side under these settings."""
    return config.data.image_size or facts.image_size


def network_cost(config: Config, facts: DatasetFacts) -> NetworkCost:
    """Count a ConvNet-D: see `core.networks.convnet`."""
    side = padded_side(side_of(config, facts), config.network.first_padding)
    width = config.network.width
    channels = facts.channels
    depth = config.network.depth or automatic_depth(side)
    parameters = 0
    forward = 0.0
    activations = channels * side * side
    for block in range(depth):
        inputs = channels if block == 0 else width
        parameters += width * (9 * inputs + 3)
        forward += 2.0 * 9 * inputs * width * side * side
        activations += 4 * width * side * side
        side //= 2
    features = width * side * side
    return NetworkCost(
        parameters + (features + 1) * facts.classes, forward + 2.0 * features * facts.classes, activations
    )


def cost(config: Config, facts: DatasetFacts) -> Cost:
    """Count a whole run of ``config`` on a dataset of these facts.

    Every method of ``run.methods`` that matches experts trains its own; plain ones skip the penalty.
    """
    network = network_cost(config, facts)
    methods, matched = config.run.methods, matched_methods(config)
    expert = config.expert
    distill = config.distill
    evaluate = config.evaluate
    held = config.data.validation_size or facts.train // 10
    train = config.data.train_size or facts.train - held
    total = distill.ipc * facts.classes
    batch = min(distill.batch_size or total, total)
    experts = [method_info(method).settings(config).expert for method in matched]
    step = sum(
        (_PLAIN + _PENALTY * (one.penalty_weight > 0)) * (2 if one.sharpness_rho > 0 else 1) for one in experts
    )  # sharpness-aware experts take a second gradient of every step
    per_epoch = train * step + held * len(matched)
    validations = -(-distill.iterations // distill.validate_every) if distill.validate_every else 1
    trained = evaluate.passes * total * _PLAIN
    validated = validations * distill.validate_networks * (trained + held)
    sets = len(methods) + sum(baseline != "full" for baseline in config.run.baselines)
    full = (evaluate.full_networks or evaluate.networks) * ("full" in config.run.baselines)
    scored = facts.test * (evaluate.networks * sets + full)
    iterations = sum(iteration_forwards(config, method, facts) for method in methods)
    in_graph = max(2 * batch, expert.batch_size * (2 if any(one.penalty_weight for one in experts) else 1))
    image = facts.channels * side_of(config, facts) ** 2
    held_images = (train + held + facts.test) * image
    return Cost(
        experts=network.forward * expert.count * expert.epochs * per_epoch,
        distillation=network.forward * (distill.iterations * iterations + len(methods) * validated),
        evaluation=network.forward
        * (evaluate.networks * sets * trained + full * full_epochs(config, train) * train * _PLAIN + scored),
        memory=_FLOAT
        * (2 * in_graph * network.activations + (distill.syn_steps + 10) * network.parameters + held_images),
        expert_bytes=_FLOAT * network.parameters * (expert.epochs + 1) * expert.count * len(matched),
        image_bytes=(facts.train + facts.test) * (image + 8),
    )
