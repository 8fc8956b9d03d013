"""TESLA's gradient against autograd with weights as constants, differences of that surrogate, and the exact one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DSA_ALL, DistillConfig
from ast_ray.core.bilevel.hypergradient import Hypergradient, hypergradient
from ast_ray.core.bilevel.matching_loss import Target, matching_points, targets_of
from ast_ray.core.bilevel.student import Student, StudentStep, plan_steps, run_student
from ast_ray.core.engines.autograd import AutogradEngine, RoomyEngine, StepData
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream

STEP = 1e-5


@dataclass(frozen=True)
class Setup:
    """One matching problem in float64: the arguments of `hypergradient`."""

    student: Student
    start: Tensor
    steps: Sequence[StudentStep]
    targets: dict[int, Target]
    images: Tensor
    alpha: Tensor

    def by(self, method: str, engine: Any = None) -> Hypergradient:
        arguments = (self.student, self.start, self.steps, self.targets, self.images, self.alpha)
        return hypergradient(*arguments, method=method, engine=engine)  # type: ignore[arg-type]


@pytest.fixture
def make_setup(make_network, make_images):
    """A setup of N steps; augmented batches of 4 out of 6 images unless told otherwise."""

    def make(
        steps: int, *, points: str = "final", momentum: float = 0.0, batch_size: int = 4, epochs: int = 1
    ) -> Setup:
        network, (images, labels) = make_network(), make_images()
        config = DistillConfig(syn_steps=steps, batch_size=batch_size, augmentation=DSA_ALL, dropout=0.2)
        spec, start, noise = FlatSpec.of(network), flatten(network), stream(1, "test", "expert")
        segment = [start]
        for _ in range(epochs):
            segment.append(segment[-1] + 0.05 * torch.randn(start.shape, generator=noise, dtype=start.dtype))
        where = matching_points(steps, epochs, points)  # type: ignore[arg-type]
        plan = plan_steps(config, labels, (8, 8), network.classifier.in_features, stream(2, "test", "plan"))
        return Setup(
            Student(network, spec, labels, 1.4, momentum),
            start,
            plan,
            targets_of(start, segment, where, expert_id=0, start_epoch=0),
            images,
            torch.tensor(0.3, dtype=torch.float64),
        )

    return make


def _surrogate(setup: Setup, images: Tensor, alpha: Tensor) -> Tensor:
    """The matching loss of weights that add up the g_n, each taken at the theta_n of the setup's own images."""
    student = setup.student
    at = run_student(student, setup.start, setup.images, setup.alpha, setup.steps).weights
    theta, velocity, total = setup.start, torch.zeros_like(setup.start), torch.zeros((), dtype=torch.float64)
    for number, step in enumerate(setup.steps, 1):
        constant = at[number - 1].clone().requires_grad_()
        loss = student.loss(constant, student.batch(images, step), step)
        (gradient,) = torch.autograd.grad(loss, constant, create_graph=True)
        velocity = student.momentum * velocity + gradient
        theta = theta - alpha * velocity
        if number in setup.targets:
            total = total + setup.targets[number].loss(theta)
    return total


def _apart(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).norm() / reference.norm())


CASES = [
    {"steps": 5},
    {"steps": 5, "batch_size": 0},
    {"steps": 5, "momentum": 0.9},
    {"steps": 7, "epochs": 3, "points": "scaled"},
    {"steps": 7, "epochs": 3, "points": "equal", "momentum": 0.5},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_autograd_with_weights_that_are_constants(make_setup, case):
    setup = make_setup(**case)
    images, alpha = setup.images.clone().requires_grad_(), setup.alpha.clone().requires_grad_()
    loss = _surrogate(setup, images, alpha)
    d_images, d_alpha = torch.autograd.grad(loss, (images, alpha))
    ours = setup.by("direct")
    assert float(ours.loss) == pytest.approx(float(loss.detach()), rel=1e-12)
    assert _apart(ours.images, d_images) < 1e-12
    assert _apart(ours.alpha, d_alpha) < 1e-12
    assert not any(value.requires_grad for value in (ours.loss, ours.images, ours.alpha, *ours.parts))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_differences_of_the_surrogate(make_setup, case):
    setup = make_setup(**case)
    ours = setup.by("direct")

    def loss(images: Tensor, alpha: Tensor) -> float:
        return float(_surrogate(setup, images, alpha).detach())

    for seed in range(2):
        way = torch.randn(setup.images.shape, generator=stream(seed, "test", "direction"), dtype=torch.float64)
        up, down = (loss(setup.images + sign * STEP * way, setup.alpha) for sign in (1, -1))
        assert float((ours.images * way).sum()) == pytest.approx((up - down) / (2 * STEP), rel=1e-6, abs=1e-9)
    up, down = (loss(setup.images, setup.alpha + sign * STEP) for sign in (1, -1))
    assert float(ours.alpha) == pytest.approx((up - down) / (2 * STEP), rel=1e-6)


def test_the_closed_form_of_one_matching_point_at_the_end(make_setup):
    """dL/dalpha = -(2/D) <sum g_n, e>, with the g_n read off the student's own steps."""
    setup = make_setup(5)
    run = run_student(setup.student, setup.start, setup.images, setup.alpha, setup.steps)
    gradients = (setup.start - run.weights[-1]) / setup.alpha
    (target,) = setup.targets.values()
    expected = -2 * target.inverse_distance * torch.dot(gradients, run.weights[-1] - target.theta)
    assert float(setup.by("direct").alpha) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_step_is_exact_and_two_are_not(make_setup, momentum):
    one = make_setup(1, momentum=momentum)
    assert _apart(one.by("direct").images, one.by("recompute").images) < 1e-12
    assert _apart(one.by("direct").alpha, one.by("recompute").alpha) < 1e-12
    two = make_setup(2, momentum=momentum)
    direct, exact = two.by("direct"), two.by("recompute")
    assert torch.equal(direct.loss, exact.loss)
    assert _apart(direct.images, exact.images) > 1e-2
    assert _apart(direct.alpha, exact.alpha) > 1e-2


class _Linear(AutogradEngine):
    """A loss that is linear in theta, so that no step's gradient depends on the steps before it."""

    def loss(self, theta: Tensor, data: StepData) -> Tensor:
        features = torch.tanh(data.images.flatten(1).repeat(1, 3)[:, : len(theta)]).sum(0)
        return data.nu * (torch.nn.functional.pad(features, (0, len(theta) - len(features))) * theta).sum()


class _LinearStudent(Student):
    @property
    def reference(self) -> AutogradEngine:
        return _Linear(self.network, self.spec)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_exact_for_any_number_of_steps_where_the_loss_is_linear_in_theta(make_setup, steps, momentum):
    setup = make_setup(steps)
    given = setup.student
    linear = replace(setup, student=_LinearStudent(given.network, given.spec, given.labels, given.nu, momentum))
    exact, direct = linear.by("full_graph"), linear.by("direct")
    assert float(exact.images.norm()) > 0
    assert _apart(direct.images, exact.images) < 1e-12
    assert _apart(direct.alpha, exact.alpha) < 1e-12


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_points_add_up(make_setup, momentum):
    """Each matching point alone, summed: the adjoint of a step is the sum of the later points' gradients."""
    setup = make_setup(7, epochs=3, points="scaled", momentum=momentum)
    assert len(setup.targets) == 3
    alone = [replace(setup, targets={number: target}).by("direct") for number, target in setup.targets.items()]
    whole = setup.by("direct")
    assert _apart(whole.images, torch.stack([one.images for one in alone]).sum(0)) < 1e-12
    assert _apart(whole.alpha, torch.stack([one.alpha for one in alone]).sum(0)) < 1e-12
    assert float(whole.loss) == pytest.approx(sum(float(one.loss) for one in alone))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_every_engine_gives_it_whether_it_keeps_the_steps_or_not(make_setup, momentum):
    setup = make_setup(4, momentum=momentum, epochs=2, points="equal")
    reference = setup.by("direct")
    autograd, written = setup.student.reference, ManualConvNetEngine(setup.student.spec)
    chunked = replace(written, limit=4 * 8 * 8 * 8 * 2)
    for engine in (autograd, written, chunked):
        plain, roomy = setup.by("direct", engine), setup.by("direct", RoomyEngine(engine))
        assert _apart(plain.images, reference.images) < 1e-9
        assert float(plain.alpha) == pytest.approx(float(reference.alpha), rel=1e-9)
        assert _apart(roomy.images, plain.images) < 1e-12
        assert _apart(roomy.alpha, plain.alpha) < 1e-12
        if engine is not autograd:  # which rounds otherwise where it keeps its graph
            assert torch.equal(plain.images, roomy.images)
            assert torch.equal(plain.alpha, roomy.alpha)


def test_a_roomy_engine_computes_no_step_twice_and_no_engine_computes_the_part_along_theta(make_setup):
    @dataclass
    class Counting:
        inner: AutogradEngine
        steps: int = 0

        def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
            self.steps += 1
            return self.inner.gradient(theta, data, keep=keep, slot=slot)

        def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
            raise AssertionError("the part along theta was computed")

        def image_derivative(self, kept: Any, toward: Tensor) -> Tensor:
            return self.inner.image_derivative(kept, toward)

    setup = make_setup(3)
    for wrapped, steps in ((lambda engine: engine, 6), (RoomyEngine, 3)):
        counting = Counting(setup.student.reference)
        setup.by("direct", wrapped(counting))
        assert counting.steps == steps


@pytest.mark.parametrize("limit", [0, 4 * 8 * 8 * 8 * 2])
def test_the_image_derivative_is_the_second_of_both_to_the_bit(make_setup, limit):
    setup = make_setup(1)
    student, step = setup.student, setup.steps[0]
    data = student.data(student.batch(setup.images, step), step)
    toward = torch.randn(setup.start.shape, generator=stream(3, "test"), dtype=torch.float64)
    engine = ManualConvNetEngine(student.spec, limit=limit)
    _, kept = engine.gradient(setup.start, data, keep=True)
    alone = engine.image_derivative(kept, toward)
    assert torch.equal(alone, engine.derivative(kept, toward)[1])
    assert alone.is_contiguous()
