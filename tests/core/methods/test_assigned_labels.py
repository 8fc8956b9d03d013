"""Labels assigned by an expert, and the student that takes them, by hand, against autograd and differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DSA_ALL, DistillConfig
from ast_ray.core.bilevel.hypergradient import Hypergradient, hypergradient
from ast_ray.core.bilevel.matching_loss import matching_points, targets_of
from ast_ray.core.bilevel.student import Student, plan_steps
from ast_ray.core.engines.autograd import AutogradEngine, StepData
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.methods.assigned_labels import assigned_labels
from ast_ray.core.parameters import FlatSpec, flatten, load
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError

CLASSES = 3


def _probabilities(count: int) -> Tensor:
    logits = 2 * torch.randn(count, CLASSES, generator=stream(7, "test", "labels"), dtype=torch.float64)
    return logits.softmax(1)


def test_the_labels_are_the_softmax_at_the_given_weights(make_network, make_images):
    network, (images, _) = make_network(), make_images()
    own = flatten(network)
    theta = own + 0.3 * torch.randn(own.shape, generator=stream(3, "test"), dtype=own.dtype)
    found = assigned_labels(network, theta.requires_grad_(), images.clone().requires_grad_())
    assert torch.equal(flatten(network), own)
    load(network, FlatSpec.of(network), theta.detach())
    odds = network(images).exp().detach()
    assert torch.allclose(found, odds / odds.sum(1, keepdim=True), rtol=1e-12)
    assert not found.requires_grad
    assert found.shape == (len(images), CLASSES)
    load(network, FlatSpec.of(network), own)


def test_a_few_images_at_a_time_are_all_at_once(make_network, make_images):
    network, (images, _) = make_network(), make_images()
    theta = flatten(network)
    whole, parts = (assigned_labels(network, theta, images, batch_size=size) for size in (500, 4))
    assert torch.allclose(whole, parts, rtol=1e-12)


def test_labels_that_are_not_finite_are_refused(make_network, make_images):
    network, (images, _) = make_network(), make_images()
    with pytest.raises(DivergenceError, match="assigned by an expert are not finite"):
        assigned_labels(network, torch.full_like(flatten(network), float("nan")), images)


def test_the_loss_is_the_cross_entropy_with_the_probabilities_of_the_batch(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    theta, targets = flatten(network), _probabilities(len(images))
    config = DistillConfig(syn_steps=1, batch_size=4, augmentation="none")
    (step,) = plan_steps(config, labels, (8, 8), network.classifier.in_features, stream(0))
    student = Student(network, FlatSpec.of(network), labels, nu=1.5, targets=targets)
    logs = network(images[step.rows]).log_softmax(1).detach()
    expected = -1.5 * float((targets[step.rows] * logs).sum()) / 4
    assert float(student.loss(theta, student.batch(images, step), step)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("limit", [0, 4 * 8 * 8 * 8 * 2])
def test_the_written_out_step_takes_them_as_autograd_does(make_network, make_images, limit):
    network, (images, _) = make_network(depth=2), make_images()
    spec, theta = FlatSpec.of(network), flatten(network)
    data = StepData(images, _probabilities(len(images)), None, 1.3)
    toward = torch.randn(theta.shape, generator=stream(4, "test"), dtype=theta.dtype)
    results = []
    for engine in (AutogradEngine(network, spec), ManualConvNetEngine(spec, limit=limit)):
        gradient, kept = engine.gradient(theta, data, keep=True)
        results.append((gradient, *engine.derivative(kept, toward)))
    for reference, ours in zip(*results, strict=True):
        assert float((ours - reference).norm()) <= 1e-10 * float(reference.norm())


def _matched(make_network, make_images, method: str, **options: object) -> tuple[Hypergradient, Tensor]:
    """A hypergradient of four steps, and the derivative of its loss along a direction by central differences."""
    network, (images, labels) = make_network(), make_images()
    start, noise = flatten(network), stream(1, "test", "expert")
    segment = [start, start + 0.05 * torch.randn(start.shape, generator=noise, dtype=start.dtype)]
    targets = targets_of(start, segment, matching_points(4, 1, "final"), expert_id=0, start_epoch=0)
    config = DistillConfig(syn_steps=4, batch_size=4, augmentation=DSA_ALL)
    steps = plan_steps(config, labels, (8, 8), network.classifier.in_features, stream(2, "test"))
    student = replace(Student(network, FlatSpec.of(network), labels, 1.3), **options)  # type: ignore[arg-type]
    alpha = torch.tensor(0.1, dtype=torch.float64)

    def by(pixels: Tensor) -> Hypergradient:
        return hypergradient(student, start, steps, targets, pixels, alpha, method=method)  # type: ignore[arg-type]

    way = torch.randn(images.shape, generator=stream(5, "test"), dtype=torch.float64)
    up, down = (float(by(images + sign * 1e-5 * way).loss) for sign in (1, -1))
    found = by(images)
    return found, torch.stack([(found.images * way).sum(), torch.tensor((up - down) / 2e-5, dtype=torch.float64)])


@pytest.mark.parametrize("method", ["recompute", "full_graph"])
def test_the_exact_gradient_with_assigned_labels_is_that_of_differences(make_network, make_images, method):
    _, slopes = _matched(make_network, make_images, method, targets=_probabilities(6))
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-6)


def test_certain_labels_are_the_classes(make_network, make_images):
    _, labels = make_images()
    certain = torch.nn.functional.one_hot(labels, CLASSES).double()
    hard, _ = _matched(make_network, make_images, "recompute")
    soft, _ = _matched(make_network, make_images, "recompute", targets=certain)
    assert float(soft.loss) == pytest.approx(float(hard.loss), rel=1e-12)
    assert float((soft.images - hard.images).norm()) <= 1e-12 * float(hard.images.norm())
    other, _ = _matched(make_network, make_images, "recompute", targets=_probabilities(6))
    assert float((other.images - hard.images).norm()) > 1e-2 * float(hard.images.norm())
