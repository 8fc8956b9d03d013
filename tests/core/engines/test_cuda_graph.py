"""CUDA graphs against eager recompute; needs a GPU."""

from __future__ import annotations

import pytest
import torch

from ast_ray.core.engines.autograd import AutogradEngine, StepData
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.engines.cuda_graph import GraphedEngine
from ast_ray.core.networks.convnet import ConvNet
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("slots", [1, 3])
def test_replays_equal_eager_for_changing_inputs(slots: int) -> None:
    with torch.random.fork_rng():
        network = ConvNet((3, 8, 8), 4, width=8, depth=2).double().cuda()
    spec, start = FlatSpec.of(network), flatten(network)
    reference, ours = AutogradEngine(network, spec), GraphedEngine(ManualConvNetEngine(spec))
    noise = stream(0, "test")
    steps = []
    for number in range(3):
        theta = start + 0.1 * torch.randn(start.shape, generator=noise).to(start)
        images = torch.randn(5, 3, 8, 8, generator=noise).to(start)
        mask = (torch.rand(5, network.classifier.in_features, generator=noise) > 0.3).to(start)
        steps.append((theta, StepData(images, torch.randint(4, (5,), generator=noise).cuda(), mask, 1.0 + number)))
    kept = [ours.gradient(*step, keep=slots > 1, slot=number) for number, step in enumerate(steps)]
    for number in reversed(range(3)):
        toward = torch.randn(start.shape, generator=noise).to(start)
        expected, graph = reference.gradient(*steps[number], keep=True)
        gradient, slot = kept[number] if slots > 1 else ours.gradient(*steps[number], keep=True)
        assert torch.allclose(gradient, expected, atol=1e-10)
        assert torch.allclose(kept[number][0], expected, atol=1e-10)
        for mine, theirs in zip(ours.derivative(slot, toward), reference.derivative(graph, toward), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-9)


def test_the_image_derivative_alone_and_probabilities_as_labels_equal_eager() -> None:
    """Classes and probabilities come in turn to one engine, whose graphs read buffers of their own for each."""
    with torch.random.fork_rng():
        network = ConvNet((3, 8, 8), 4, width=8, depth=2).double().cuda()
    spec, start = FlatSpec.of(network), flatten(network)
    reference, ours = AutogradEngine(network, spec), GraphedEngine(ManualConvNetEngine(spec))
    noise = stream(0, "test")
    for number in range(4):
        images = torch.randn(5, 3, 8, 8, generator=noise).to(start)
        labels = torch.randint(4, (5,), generator=noise).cuda()
        if number % 2:
            labels = torch.randn(5, 4, generator=noise).to(start).softmax(1)
        data, toward = StepData(images, labels, None, 1.0), torch.randn(start.shape, generator=noise).to(start)
        expected, graph = reference.gradient(start, data, keep=True)
        gradient, slot = ours.gradient(start, data, keep=True)
        assert torch.allclose(gradient, expected, atol=1e-10)
        mine, theirs = ours.image_derivative(slot, toward), reference.image_derivative(graph, toward)
        assert torch.allclose(mine, theirs, atol=1e-9)
