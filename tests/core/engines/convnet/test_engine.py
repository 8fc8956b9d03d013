"""The written-out step and its compiled form against autograd: one step, a whole iteration, chunks, odd sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DSA_ALL, DistillConfig, NetworkConfig
from ast_ray.core.bilevel.hypergradient import Hypergradient, hypergradient
from ast_ray.core.bilevel.matching_loss import matching_points, targets_of
from ast_ray.core.bilevel.student import Student, plan_steps
from ast_ray.core.engines.autograd import AutogradEngine, StepData
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine, supports
from ast_ray.core.engines.convnet.kernels import Kernels
from ast_ray.core.networks import build
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream

CLASSES = 4


def _network(
    shape: tuple[int, int, int], depth: int, dtype: torch.dtype = torch.float64, *, width: int = 5, **options: object
) -> ConvNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConvNet(shape, CLASSES, width=width, depth=depth, **options).to(dtype)  # type: ignore[arg-type]


def _data(shape: tuple[int, int, int], batch: int, mask: Tensor | None = None) -> StepData:
    images = torch.randn(batch, *shape, generator=stream(0, "test", "images"), dtype=torch.float64)
    return StepData(images, torch.arange(batch) % CLASSES, mask, 1.7)


def _moved(network: ConvNet) -> Tensor:
    """Weights away from the initialisation, where every gamma is one and every beta nought."""
    theta = flatten(network)
    return theta + 0.2 * torch.randn(theta.shape, generator=stream(1, "test"), dtype=theta.dtype)


def _close(ours: Tensor, reference: Tensor, tolerance: float) -> None:
    assert ours.shape == reference.shape
    assert float((ours - reference).norm()) <= tolerance * float(reference.norm())


@pytest.mark.parametrize(
    ("shape", "depth"), [((3, 8, 8), 1), ((3, 8, 8), 3), ((1, 7, 10), 2), ((3, 5, 5), 2), ((2, 6, 9), 1)]
)
@pytest.mark.parametrize(("width", "limit"), [(5, 0), (12, 12 * 8 * 8 * 8 * 3)])
def test_gradient_and_derivative_equal_autograd(shape, depth, width, limit):
    network = _network(shape, depth, width=width)
    spec, theta = FlatSpec.of(network), _moved(network)
    features = network.classifier.in_features
    mask = (torch.rand(7, features, generator=stream(2, "test")) > 0.3).double() / 0.7
    toward = torch.randn(theta.shape, generator=stream(3, "test"), dtype=theta.dtype)
    results = []
    for engine in (AutogradEngine(network, spec), ManualConvNetEngine(spec, limit=limit)):
        gradient, kept = engine.gradient(theta, _data(shape, 7, mask), keep=True)
        assert engine.gradient(theta, _data(shape, 7, mask), keep=False)[1] is None
        results.append((gradient, *engine.derivative(kept, toward)))
    for reference, ours in zip(*results, strict=True):
        _close(ours, reference, 1e-10)


def _iteration(
    network: ConvNet, engine: object, method: str, dtype: torch.dtype, channels: int = 3, **settings: object
) -> tuple[Hypergradient, Hypergradient]:
    """One whole iteration by ``engine`` and by eager recompute."""
    settings = {"syn_steps": 4, "expert_epochs": 2, "max_start_epoch": 4, "augmentation": DSA_ALL, **settings}
    config = DistillConfig(**settings)  # type: ignore[arg-type]
    spec, start = FlatSpec.of(network), _moved(network)
    labels = torch.arange(10) % CLASSES
    images = torch.randn(10, channels, 8, 8, generator=stream(4, "test")).to(dtype)
    noise = stream(5, "test")
    segment = [start] + [start + 0.1 * torch.randn(start.shape, generator=noise).to(dtype) for _ in range(2)]
    points = matching_points(config.syn_steps, config.expert_epochs, config.beta_strategy)
    targets = targets_of(start, segment, points, expert_id=0, start_epoch=0)
    steps = plan_steps(config, labels, (8, 8), network.classifier.in_features, stream(6, "test"))
    student = Student(network, spec, labels, 1.3, config.student_momentum)
    alpha = torch.tensor(0.05, dtype=dtype)
    arguments = (student, start, steps, targets, images, alpha)
    ours = hypergradient(*arguments, method=method, engine=engine)  # type: ignore[arg-type]
    return ours, hypergradient(*arguments)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"student_momentum": 0.9, "dropout": 0.3, "batch_size": 4, "beta_strategy": "scaled"},
        {"batch_size": 4, "syn_steps": 7, "augmentation": "none", "beta_strategy": "final"},
    ],
)
@pytest.mark.parametrize("method", ["recompute", "stored"])
def test_an_iteration_equals_eager_recompute(settings, method):
    network = _network((3, 8, 8), 2)
    ours, reference = _iteration(network, ManualConvNetEngine(FlatSpec.of(network)), method, torch.float64, **settings)
    _close(ours.images, reference.images, 1e-9)
    assert float(ours.alpha) == pytest.approx(float(reference.alpha), rel=1e-9)
    assert [float(part) for part in ours.parts] == pytest.approx([float(part) for part in reference.parts], rel=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_stored_and_recompute_agree_to_the_bit(momentum):
    network = _network((3, 8, 8), 2, torch.float32)
    engine = ManualConvNetEngine(FlatSpec.of(network), limit=5 * 8 * 8 * 4 * 2)
    stored, recomputed = (
        _iteration(network, engine, method, torch.float32, student_momentum=momentum, batch_size=4)[0]
        for method in ("stored", "recompute")
    )
    assert torch.equal(stored.images, recomputed.images)
    assert torch.equal(stored.alpha, recomputed.alpha)
    assert torch.equal(stored.loss, recomputed.loss)


def test_autograd_can_store_too():
    network = _network((3, 8, 8), 1)
    stored, reference = _iteration(network, None, "stored", torch.float64)
    _close(stored.images, reference.images, 1e-12)


def test_an_iteration_in_float32_equals_eager_recompute():
    network = _network((3, 8, 8), 2, torch.float32)
    ours, reference = _iteration(network, ManualConvNetEngine(FlatSpec.of(network)), "recompute", torch.float32)
    _close(ours.images, reference.images, 1e-4)
    assert float(ours.alpha) == pytest.approx(float(reference.alpha), rel=1e-4)


def test_compiled_equals_eager(compiled_code):
    network = _network((1, 8, 8), 1, torch.float32, width=4)
    engine = ManualConvNetEngine(FlatSpec.of(network), passes=Kernels.compiled())
    ours, reference = _iteration(network, engine, "recompute", torch.float32, channels=1)
    _close(ours.images, reference.images, 1e-4)
    assert float(ours.alpha) == pytest.approx(float(reference.alpha), rel=1e-4)
    assert float(ours.loss) == pytest.approx(float(reference.loss), rel=1e-5)


def test_which_networks_are_written_out():
    assert supports(_network((3, 8, 8), 2))
    assert not supports(_network((3, 8, 8), 1, norm="batch"))
    assert not supports(_network((3, 8, 8), 1, norm="none"))
    padded = NetworkConfig(width=4, depth=3, first_padding=3)
    assert not supports(build(padded, (1, 28, 28), 10, stream(0)))


def test_results_carry_no_graph():
    network = _network((3, 8, 8), 1)
    engine = ManualConvNetEngine(FlatSpec.of(network))
    gradient, kept = engine.gradient(_moved(network).requires_grad_(), _data((3, 8, 8), 3), keep=True)
    through_theta, through_images = engine.derivative(kept, torch.ones_like(gradient))
    assert not any(tensor.requires_grad for tensor in (gradient, through_theta, through_images))
    assert through_images.is_contiguous()
    assert dataclasses.is_dataclass(kept[0])
