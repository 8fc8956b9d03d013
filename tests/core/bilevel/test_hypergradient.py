"""Both ways to the gradient against each other and against central differences of an independent forward pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DSA_ALL, DistillConfig
from ast_ray.core.augmentation import apply
from ast_ray.core.bilevel.hypergradient import hypergradient
from ast_ray.core.bilevel.matching_loss import Target, matching_points, targets_of
from ast_ray.core.bilevel.student import Student, StudentStep, plan_steps
from ast_ray.core.methods.ast import balance
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream

CLASSES, PER_CLASS, SIZE, STEP = 3, 2, 8, 1e-6


@dataclass(frozen=True)
class Setup:
    """One matching problem in float64."""

    student: Student
    start: Tensor
    steps: Sequence[StudentStep]
    targets: dict[int, Target]
    segment: list[Tensor]
    images: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    syn_steps: int = 3
    expert_epochs: int = 2
    batch_size: int = 0
    beta: str = "equal"
    momentum: float = 0.0
    augmentation: str = "none"
    siamese: bool = False
    balanced: bool = True
    dropout: float = 0.0
    depth: int = 1

    def __str__(self) -> str:
        return "-".join(str(getattr(self, name)) for name in self.__dataclass_fields__)


def _grid() -> list[Case]:
    """Every (N, M) x batch x beta x momentum, the other switches turning along; then every operation by itself."""
    reaches, batches = [(1, 1), (4, 2), (7, 3)], [0, 4]
    switches = [  # five of them, which divides no other side of the grid: each meets each
        (DSA_ALL, True, 0.0, 1),
        ("none", False, 0.3, 2),
        ("color_flip", True, 0.3, 1),
        ("crop_scale", False, 0.0, 2),
        (DSA_ALL, False, 0.3, 2),
    ]
    turning = itertools.cycle(switches)
    cases = []
    for (steps, epochs), batch, beta, momentum in itertools.product(
        reaches, batches, ("equal", "scaled", "final"), (0.0, 0.9)
    ):
        augmentation, balanced, dropout, depth = next(turning)
        cases.append(Case(steps, epochs, batch, beta, momentum, augmentation, False, balanced, dropout, depth))
    for operation, siamese in itertools.product(("none", *DSA_ALL.split("_")), (False, True)):
        cases.append(Case(augmentation=operation, siamese=siamese, batch_size=4, momentum=0.9 if siamese else 0.0))
    cases += [Case(batch_size=5, syn_steps=5), Case(batch_size=1, syn_steps=7, momentum=0.9), Case(batch_size=6)]
    return cases


def _setup(case: Case, network: Network, images: Tensor, labels: Tensor) -> Setup:
    config = DistillConfig(
        syn_steps=case.syn_steps,
        expert_epochs=case.expert_epochs,
        max_start_epoch=6,
        batch_size=case.batch_size,
        augmentation=case.augmentation,
        siamese=case.siamese,
        dropout=case.dropout,
        student_momentum=case.momentum,
    )
    spec, start = FlatSpec.of(network), flatten(network)
    noise = stream(1, "test", "expert")
    segment = [start.clone()]
    for _ in range(case.expert_epochs):
        segment.append(segment[-1] + 0.05 * torch.randn(start.shape, generator=noise, dtype=start.dtype))
    points = matching_points(case.syn_steps, case.expert_epochs, case.beta)  # type: ignore[arg-type]
    nu = balance(5, 6) if case.balanced else 1.0
    return Setup(
        student=Student(network, spec, labels, nu, case.momentum),
        start=start,
        steps=plan_steps(config, labels, (SIZE, SIZE), network.classifier.in_features, stream(2, "test", "plan")),
        targets=targets_of(start, segment, points, expert_id=0, start_epoch=5),
        segment=segment,
        images=images,
        alpha=torch.tensor(0.05, dtype=torch.float64),
    )


def _plain_loss(setup: Setup, case: Case, images: Tensor, alpha: Tensor) -> float:
    """The matching loss written out: own parameter cut, cross-entropy, heavy ball and weights (Eq. 20-22)."""
    names = [name for name, _ in setup.student.network.named_parameters()]
    shapes = [parameter.shape for _, parameter in setup.student.network.named_parameters()]
    theta, velocity, total = setup.start.clone(), torch.zeros_like(setup.start), 0.0
    ends = {(i * case.syn_steps) // case.expert_epochs: i for i in range(1, case.expert_epochs + 1)}
    if case.beta == "final":
        ends = {case.syn_steps: case.expert_epochs}
    for number, step in enumerate(setup.steps, 1):
        theta.requires_grad_()
        rows = torch.arange(len(images)) if step.rows is None else step.rows
        cut = torch.split(theta, [shape.numel() for shape in shapes])
        weights = {name: part.reshape(shape) for name, part, shape in zip(names, cut, shapes, strict=True)}
        batch = apply(images[rows], step.augmentation)
        arguments = (batch,) if step.feature_mask is None else (batch, step.feature_mask)
        logits = torch.func.functional_call(setup.student.network, weights, arguments)
        log_probability = logits - logits.exp().sum(1, keepdim=True).log()
        loss = -log_probability[torch.arange(len(rows)), setup.student.labels[rows]].mean() * setup.student.nu
        (gradient,) = torch.autograd.grad(loss, theta)
        velocity = case.momentum * velocity + gradient
        theta = theta.detach() - alpha * velocity
        if number in ends:
            goal = setup.segment[ends[number]]
            beta = number / case.syn_steps if case.beta == "scaled" else 1.0
            total += beta * float(((theta - goal) ** 2).sum() / ((setup.start - goal) ** 2).sum())
    return total


@pytest.mark.parametrize("case", _grid(), ids=str)
def test_recompute_equals_full_graph_equals_finite_differences(case, make_network, make_images):
    images, labels = make_images(per_class=PER_CLASS, classes=CLASSES)
    setup = _setup(case, make_network(depth=case.depth), images, labels)
    arguments = (setup.student, setup.start, setup.steps, setup.targets, setup.images, setup.alpha)
    ours = hypergradient(*arguments, method="recompute")
    full = hypergradient(*arguments, method="full_graph")

    assert float(ours.loss) == pytest.approx(float(full.loss), rel=1e-10)
    assert [float(part) for part in ours.parts] == pytest.approx([float(part) for part in full.parts], rel=1e-10)
    assert float((ours.images - full.images).norm()) <= 1e-10 * float(full.images.norm())
    assert float(ours.alpha) == pytest.approx(float(full.alpha), rel=1e-10)

    assert float(ours.loss) == pytest.approx(_plain_loss(setup, case, images, setup.alpha), rel=1e-10)
    for seed in range(2):
        direction = torch.randn(images.shape, generator=stream(seed, "test", "direction"), dtype=images.dtype)
        up = _plain_loss(setup, case, images + STEP * direction, setup.alpha)
        down = _plain_loss(setup, case, images - STEP * direction, setup.alpha)
        assert float((ours.images * direction).sum()) == pytest.approx((up - down) / (2 * STEP), rel=1e-5, abs=1e-8)
    up = _plain_loss(setup, case, images, setup.alpha + STEP)
    down = _plain_loss(setup, case, images, setup.alpha - STEP)
    assert float(ours.alpha) == pytest.approx((up - down) / (2 * STEP), rel=1e-5, abs=1e-8)


def test_inputs_are_left_alone_and_carry_no_graph(make_network, make_images):
    images, labels = make_images()
    setup = _setup(Case(momentum=0.9), make_network(), images, labels)
    before = (setup.start.clone(), images.clone(), setup.alpha.clone())
    for method in ("recompute", "full_graph"):
        result = hypergradient(
            setup.student, setup.start, setup.steps, setup.targets, images, setup.alpha, method=method
        )
        assert not any(value.requires_grad for value in (result.loss, result.images, result.alpha, *result.parts))
    assert all(torch.equal(old, new) for old, new in zip(before, (setup.start, images, setup.alpha), strict=True))
    assert not any(value.requires_grad for value in (setup.start, images, setup.alpha))


def test_images_outside_every_batch_get_no_gradient(make_network, make_images):
    images, labels = make_images()
    setup = _setup(Case(batch_size=2, syn_steps=2), make_network(), images, labels)
    used = torch.cat([step.rows for step in setup.steps]).tolist()
    result = hypergradient(setup.student, setup.start, setup.steps, setup.targets, images, setup.alpha)
    touched = [row for row in range(len(images)) if float(result.images[row].abs().sum()) > 0]
    assert touched == sorted(used)
    assert len(used) == 4


def test_one_step_on_a_linear_model_by_hand():
    """Softmax regression from zero weights: g = x (p - y), so theta_1, L and dL/dalpha fit on paper."""

    class Linear(Network):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng(devices=[]):
                self.classifier = torch.nn.Linear(1, 2, bias=False, dtype=torch.float64)

        def features(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    network = Linear()
    student = Student(network, FlatSpec.of(network), torch.tensor([0]), nu=2.0)
    goal = torch.tensor([1.0, 0.0], dtype=torch.float64)
    targets = {1: Target(goal, 1.0, 1.0)}
    start, alpha = torch.zeros(2, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    steps = plan_steps(DistillConfig(syn_steps=1, augmentation="none"), student.labels, (1, 1), 1, stream(0))
    result = hypergradient(student, start, steps, targets, torch.full((1, 1, 1, 1), 3.0).double(), alpha)
    # p = (1/2, 1/2); g = 2 * 3 * (-1/2, 1/2) = (-3, 3); theta_1 = (0.3, -0.3); L = 0.49 + 0.09
    assert float(result.loss) == pytest.approx(0.58)
    # dL/dtheta_1 = (-1.4, -0.6); dL/dalpha = -<g, dL/dtheta_1> = -(4.2 - 1.8)
    assert float(result.alpha) == pytest.approx(-2.4)
    # theta_1 = alpha * x * (1, -1) at zero weights, so dL/dx = 0.1 * (-1.4 + 0.6)
    assert float(result.images) == pytest.approx(-0.08)


def test_student_momentum_changes_the_gradient(make_network, make_images):
    images, labels = make_images()
    plain = _setup(Case(syn_steps=4), make_network(), images, labels)
    heavy = replace(plain, student=replace(plain.student, momentum=0.9))
    losses = [
        float(hypergradient(s.student, s.start, s.steps, s.targets, images, s.alpha).loss) for s in (plain, heavy)
    ]
    assert abs(losses[0] - losses[1]) > 1e-3
