"""Check that an engine agrees with autograd on the device before a distillation or an expert relies on it.

Of a distillation: two steps of a student, forwards one after the other and back in turn, twice with other inputs. A
captured graph that reads a stale buffer, or a fused kernel that is wrong on this device, does not survive that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ast_ray.config.settings import Config
from ast_ray.core.engines.autograd import AutogradEngine, Engine, StepData
from ast_ray.core.engines.expert_step import AutogradExpertStep, ExpertBatch, ExpertStep
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.precision import Precision
from ast_ray.core.rng import stream

_STEPS = 2
_ROUNDS = 2
_IMAGES = 64
# Relative distance that passes. In float32 a ReLU at nought may fall to either side: with untrained weights and noise
# for images, one that does moves a gradient by up to some thousandths.
_TOLERANCE = {"float32": 0.03, "tf32": 0.1, "bf16": 0.3}


def disagreement(
    engine: Engine, network: Network, config: Config, image_shape: tuple[int, int, int], classes: int
) -> str:
    """Say by how much the engine's gradient or derivative is off autograd's; empty when they agree.

    Args:
        network: on the device; image_shape: (C, H, W).
    """
    spec, start = FlatSpec.of(network), flatten(network)
    reference = AutogradEngine(network, spec)
    noise, worst = stream(config.seed, "engine check"), 0.0
    total = config.distill.ipc * classes
    batch = min(config.distill.batch_size or total, total, _IMAGES)

    def step() -> tuple[Tensor, StepData]:
        moved = start + 0.01 * torch.randn(start.shape, generator=noise).to(start)
        images = torch.randn(batch, *image_shape, generator=noise).to(start)
        labels = torch.randint(classes, (batch,), generator=noise).to(start.device)
        return moved, StepData(images, labels, None, 1.0 + float(torch.rand((), generator=noise)))

    for _ in range(_ROUNDS):
        steps = [step() for _ in range(_STEPS)]
        taken = [engine.gradient(*one, keep=True, slot=slot) for slot, one in enumerate(steps)]
        for one, (gradient, kept) in zip(reversed(steps), reversed(taken), strict=True):
            toward = torch.randn(start.shape, generator=noise).to(start)
            expected, graph = reference.gradient(*one, keep=True)
            found = [(gradient, expected)]
            found += zip(engine.derivative(kept, toward), reference.derivative(graph, toward), strict=True)
            worst = max(worst, *(_apart(*pair) for pair in found))
    return _told(worst, config.distill.precision)


def expert_disagreement(
    step: ExpertStep, network: Network, config: Config, image_shape: tuple[int, int, int], classes: int
) -> str:
    """Say by how much an expert's step is off autograd's, on two batches of noise; empty when they agree.

    Args:
        network: on the device; image_shape: (C, H, W).
    """
    spec, theta = FlatSpec.of(network), flatten(network)
    reference = AutogradExpertStep(network, spec, config.expert)
    noise, worst = stream(config.seed, "expert engine check"), 0.0
    count = min(config.expert.batch_size, _IMAGES)
    for _ in range(_ROUNDS):
        images, augmented = (torch.randn(count, *image_shape, generator=noise).to(theta) for _ in range(2))
        labels = torch.randint(classes, (count,), generator=noise).to(theta.device)
        batch = ExpertBatch(images, augmented, labels, 0.5)
        worst = max(worst, *(_apart(*pair) for pair in zip(step(theta, batch), reference(theta, batch), strict=True)))
    return _told(worst, config.expert.expert_precision)


def _told(worst: float, precision: Precision) -> str:
    return "" if worst <= _TOLERANCE[precision] else f"off autograd by {worst:.2g} of the gradient on this device"


def _apart(ours: Tensor, expected: Tensor) -> float:
    """Relative distance; infinite where it is not a number."""
    found = float((ours - expected).norm() / expected.norm().clamp_min(1e-30))
    return found if found == found else float("inf")
