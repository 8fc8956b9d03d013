"""Every registered method: resuming, purity, streamed images, skipped gradients, and gradients against differences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from ast_ray.config.methods import METHODS
from ast_ray.config.presets import method_config
from ast_ray.config.settings import Config, DistillConfig, ExpertConfig
from ast_ray.core.methods.base import IMAGES, STUDENT_LR, TARGETS, Gradients, Problem, Sources, State
from ast_ray.core.methods.feature_alignment import FeatureAlignment
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.methods.registry import open_problem
from ast_ray.core.networks import Network, initialize
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from tests.core.recorded import Recorded, copied, same

SHAPE, CLASSES, IPC = (3, 8, 8), 3, 2
ALL = tuple(METHODS)


class Streamed:
    """Images that are read by rows alone, as `data.placement.StreamedImages` are."""

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self.shape, self.device, self.dtype = images.shape, images.device, images.dtype

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        return self._images[rows].clone()

    def split(self, size: int, /) -> Iterable[Tensor]:
        return self._images.split(size)


def settings(method: str, **distill: object) -> Config:
    """The method's settings at the smallest size."""
    config = Config(
        expert=ExpertConfig(epochs=6),
        distill=DistillConfig(
            **{"ipc": IPC, "iterations": 6, "syn_steps": 3, "max_start_epoch": 3, "init": "random-real", **distill}
        ),
    )
    sections = {
        "gradient_matching": {"real_batch": 4, "epochs": 2},
        "distribution_matching": {"real_batch": 4},
        "feature_alignment": {"real_batch": 4, "query_batch": 3, "inner_limit": 2},
        "feature_regression": {"real_batch": 7, "pool": 3, "max_age": 2, "ridge": 1e-3, "lr": 0.02},
    }
    changed = {name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()}
    return method_config(dataclasses.replace(config, **changed), method)


def real_images() -> tuple[Tensor, Tensor]:
    return torch.randn(15, *SHAPE, generator=stream(0, "real"), dtype=torch.float64), torch.arange(15) % CLASSES


def problem_of(method: str, network: Network, *, seed: int = 0, streamed: bool = False, **distill: object) -> Problem:
    config = dataclasses.replace(settings(method, **distill), seed=seed)
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    sources = Sources(config, network, labels, CLASSES)
    if METHODS[method].needs_experts:
        return open_problem(method, dataclasses.replace(sources, experts=Recorded(flatten(network))))
    images, classes = real_images()
    return open_problem(
        method,
        dataclasses.replace(sources, real_images=Streamed(images) if streamed else images, real_labels=classes),
    )


def begin(problem: Problem) -> State:
    return problem.begin(torch.randn(CLASSES * IPC, *SHAPE, generator=stream(0, "set"), dtype=torch.float64), 0.05)


def run(problem: Problem, state: State, count: int) -> State:
    for _ in range(count):
        state, report = iterate(problem, state)
        assert report.finite
        assert not report.unusable
    return state


@pytest.mark.parametrize("method", ALL)
def test_going_on_from_a_checkpoint_gives_the_uninterrupted_state(method, make_network):
    whole = run(problem_of(method, make_network()), begin(problem_of(method, make_network())), 5)
    for cut in (1, 3):
        problem = problem_of(method, make_network())
        state = run(problem, begin(problem), cut)
        other = problem_of(method, make_network())
        saved = State.from_saved(dict(state.tensors), dict(state.numbers), begin(other))
        assert same(saved, state)
        assert same(run(other, saved, 5 - cut), whole)
    assert whole.iteration == whole.updates == 5


@pytest.mark.parametrize("method", ALL)
def test_iterations_are_pure_and_seeded(method, make_network):
    problem = problem_of(method, make_network())
    state = begin(problem)
    kept = copied(state)
    (first, report), (again, _) = iterate(problem, state), iterate(problem, state)
    assert same(first, again)
    assert same(state, kept)
    assert report.iteration == 1
    assert not torch.equal(first.images, state.images)
    other = iterate(problem_of(method, make_network(), seed=1), state)[0]
    assert not torch.equal(other.images, first.images)


@pytest.mark.parametrize("method", [name for name in ALL if not METHODS[name].needs_experts])
def test_streamed_images_give_the_bytes_of_resident_ones(method, make_network):
    here = problem_of(method, make_network())
    there = problem_of(method, make_network(), streamed=True)
    assert same(run(here, begin(here), 3), run(there, begin(there), 3))


@pytest.mark.parametrize("method", ALL)
def test_a_gradient_that_is_not_finite_is_skipped_and_the_next_iteration_goes_on(method, make_network):
    problem = problem_of(method, make_network())
    state = run(problem, begin(problem), 1)

    def broken(problem: Problem, state: State, draws: list) -> list[Gradients]:
        results = [problem.gradients(state, draw) for draw in draws]
        nothing = {name: math.nan * value for name, value in results[0].learned.items()}
        return [dataclasses.replace(results[0], learned=nothing), *results[1:]]

    skipped, report = iterate(problem, state, broken)
    assert report.unusable
    assert (skipped.updates, skipped.iteration, skipped.skipped) == (1, 2, 1)
    for name in (IMAGES, STUDENT_LR, TARGETS):
        if name in state.tensors and not getattr(problem, "assigned", False):
            assert torch.equal(skipped.tensors[name], state.tensors[name])
    assert run(problem, skipped, 1).updates == 2


@pytest.mark.parametrize("method", [name for name in ALL if name != "tesla"])  # its gradient is a part of the whole one
def test_the_gradient_is_that_of_central_differences(method, make_network):
    """Through one block of width 3 and no augmentation, whose rotations have kinks."""
    network = make_network(width=3)
    problem = problem_of(method, network, augmentation="flip_scale")
    state = run(problem, begin(problem), 1)
    draw = problem.draw(state, 0)
    found = problem.gradients(state, draw)
    for number in range(2):
        direction = torch.randn(state.images.shape, generator=stream(number, "direction"), dtype=torch.float64)
        losses = [
            float(problem.gradients(state.changed({IMAGES: state.images + sign * 1e-5 * direction}), draw).loss)
            for sign in (1, -1)
        ]
        slope = float((found.learned[IMAGES] * direction).sum())
        assert slope == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=2e-6, abs=1e-9)


@pytest.mark.parametrize("method", ALL)
def test_every_number_of_a_report_is_in_the_glossary_and_in_the_row(method, make_network):
    from ast_ray.telemetry.glossary import BY_TAG

    problem = problem_of(method, make_network())
    report = iterate(problem, begin(problem))[1]
    assert set(report.scalars()) <= set(BY_TAG)
    assert {"iteration", "loss", "relative_loss", "image_gradient_norm"} <= report.row().keys()
    assert 0 < report.relative_loss < 10
    assert f"loss {report.relative_loss:.3f}" in report.note()


@pytest.mark.parametrize("method", ALL)
def test_what_is_learned_is_what_the_record_says(method, make_network):
    problem = problem_of(method, make_network())
    state = run(problem, begin(problem), 2)
    assert (STUDENT_LR in state.tensors) == METHODS[method].learns_lr
    assert set(problem.published(state)) <= {IMAGES, TARGETS}
    assert (TARGETS in problem.published(state)) == (METHODS[method].target_loss == "mse")


def test_dsa_without_augmentation_is_dc(make_network):
    dc, dsa = (problem_of(name, make_network(), augmentation="none") for name in ("dc", "dsa"))
    assert same(run(dc, begin(dc), 4), run(dsa, begin(dsa), 4))


def test_dsa_gives_real_and_synthetic_images_the_same_operation(make_network, monkeypatch):
    from ast_ray.core.methods import gradient_matching as module

    seen = []
    real = module.apply
    monkeypatch.setattr(module, "apply", lambda images, chosen: seen.append(chosen) or real(images, chosen))
    problem = problem_of("dsa", make_network())
    state = begin(problem)
    problem.gradients(state, problem.draw(state, 0))
    assert len(seen) == 2 * CLASSES
    for theirs, ours in zip(seen[::2], seen[1::2], strict=True):
        assert theirs.operation == ours.operation
        assert [set(value.tolist()) for value in theirs.values] == [set(value.tolist()) for value in ours.values]
        assert all(len(set(value.tolist())) == 1 for value in theirs.values)


def test_a_network_of_dc_lives_for_t_updates_and_is_trained_between_them(make_network):
    """T = ipc = 2: fresh, trained once, fresh again."""
    problem = problem_of("dc", make_network())
    states = [begin(problem)]
    for _ in range(4):
        states.append(iterate(problem, states[-1])[0])
    assert [(state.numbers["network"], state.numbers["step"]) for state in states] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0)
    ]  # fmt: skip
    weights = [state.tensors["network"] for state in states]
    assert len({tuple(theta[:5].tolist()) for theta in weights}) == 5


def test_a_life_of_dc_is_that_of_plain_torch(make_network):
    """Two updates and the training between them, written out with double backward and torch's SGD."""
    network = make_network()
    problem = problem_of("dc", network, outer="sgd", outer_momentum=0.5)
    state = begin(problem)
    images, labels = real_images()
    members = [torch.nonzero(labels == label).flatten() for label in range(CLASSES)]
    initialize(twin := make_network(dtype=torch.float32), stream(0, "network", 0))
    twin = twin.double()
    mine, velocity = state.images.clone(), torch.zeros_like(state.images)
    for iteration in (1, 2):
        leaf, total = mine.clone().requires_grad_(), torch.zeros((), dtype=torch.float64)
        for label in range(CLASSES):
            order = torch.randperm(5, generator=stream(0, "distill", iteration, "real", label))[:4]
            wanted = images[members[label][order]]
            pairs = []
            for batch in (wanted, leaf[label * IPC : (label + 1) * IPC]):
                answers = torch.full((len(batch),), label)
                loss = torch.nn.functional.cross_entropy(twin(batch), answers)
                pairs.append(torch.autograd.grad(loss, list(twin.parameters()), create_graph=True))
            for real, ours in zip(*pairs, strict=True):
                if real.ndim > 1:
                    b, a = real.detach().flatten(1), ours.flatten(1)
                    total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
        velocity = 0.5 * velocity + torch.autograd.grad(total, leaf)[0]
        mine = mine - 0.1 * velocity
        state, report = iterate(problem, state)
        assert report.loss == pytest.approx(float(total.detach()), rel=1e-9)
        assert torch.allclose(state.images, mine, rtol=1e-8, atol=1e-10)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.01)
        for epoch in range(2):
            rows = torch.randperm(CLASSES * IPC, generator=stream(0, "distill", iteration, "epoch", epoch))
            optimizer.zero_grad()
            answers = torch.arange(CLASSES).repeat_interleave(IPC)[rows]
            torch.nn.functional.cross_entropy(twin(mine[rows]), answers).backward()
            optimizer.step()


def test_updates_with_network_and_batch_held_bring_dcs_distance_below_half(make_network):
    problem = problem_of("dc", make_network(), step_img=0.02)
    state = begin(problem)
    draw, losses = problem.draw(state, 0), []
    for _ in range(100):
        found = problem.gradients(state, draw)
        losses.append(float(found.loss))
        state = state.changed(problem.outer.update(state, [found], found), updates=state.updates + 1)
    assert losses[-1] < losses[0] / 2


def test_cafes_augmentation_is_shared_and_switched_on_by_its_setting(make_network, monkeypatch):
    from ast_ray.core.methods import feature_alignment as module

    seen, real = [], module.apply
    monkeypatch.setattr(module, "apply", lambda images, chosen: seen.append(chosen) or real(images, chosen))
    problem = problem_of("cafe", make_network())
    state = begin(problem)
    problem.gradients(state, problem.draw(state, 0))
    assert {chosen.operation for chosen in seen} == {"none"}
    seen.clear()
    settings_ = dataclasses.replace(problem.real.config.feature_alignment, augmented=True)
    config = dataclasses.replace(problem.real.config, feature_alignment=settings_)
    on = dataclasses.replace(problem, real=dataclasses.replace(problem.real, config=config))
    on.gradients(state, on.draw(state, 0))
    ours, theirs = seen[:CLASSES], seen[CLASSES:]
    assert [chosen.operation for chosen in ours] == [chosen.operation for chosen in theirs] != ["none"] * CLASSES
    for one, other in zip(ours, theirs, strict=True):
        assert [value[0] for value in one.values] == [value[0] for value in other.values]


def test_dm_costs_nothing_on_the_real_batch_itself(make_network):
    problem = problem_of("dm", make_network(), augmentation="none")
    images, labels = real_images()
    rows = [torch.nonzero(labels == label).flatten()[:IPC] for label in range(CLASSES)]
    chosen = torch.cat(rows)
    real = dataclasses.replace(
        problem.real, images=images[chosen], members=tuple(torch.arange(IPC) + label * IPC for label in range(CLASSES))
    )
    problem = dataclasses.replace(problem, real=real)
    state = problem.begin(images[chosen], 0.0)
    found = problem.gradients(state, problem.draw(state, 0))
    assert float(found.loss) == pytest.approx(0, abs=1e-20)
    assert float(found.learned[IMAGES].abs().max()) < 1e-12
    assert float(found.parts[0]) > 0


def test_cafe_ends_a_life_by_its_queue_and_its_training_by_movement_or_the_limit(make_network, monkeypatch):
    problem = problem_of("cafe", make_network())
    assert isinstance(problem, FeatureAlignment)
    monkeypatch.setattr(FeatureAlignment, "_accuracy", lambda *_: 0.5)
    state, lives = begin(problem), []
    for _ in range(11):
        state = iterate(problem, state)[0]
        lives.append((state.numbers["network"], state.numbers["queued"]))
    assert lives == [*((0, count) for count in range(1, 10)), (1, 0), (1, 1)]
    assert state.numbers["limited"] == 10
    assert state.numbers["inner_epochs"] == 2

    accuracies = iter([0.1, *(0.1 + 0.01 * step for step in range(60))])
    monkeypatch.setattr(FeatureAlignment, "_accuracy", lambda *_: next(accuracies))
    settings_ = dataclasses.replace(problem.real.config.feature_alignment, inner_limit=50)
    config = dataclasses.replace(problem.real.config, feature_alignment=settings_)
    moving = dataclasses.replace(problem, real=dataclasses.replace(problem.real, config=config))
    after = iterate(moving, begin(moving))[0]
    assert (after.numbers["inner_epochs"], after.numbers["limited"]) == (10, 0)


def test_ftd_publishes_the_average_of_its_images_where_it_is_far_from_their_start(make_network):
    problem = problem_of("ftd", make_network())
    state = begin(problem)
    decay, average = problem.config.image_average, state.images
    assert decay**6 == pytest.approx(0.08)
    for _ in range(3):
        state = run(problem, state, 1)
        average = decay * average + (1 - decay) * state.images
        assert torch.equal(state.tensors["average"], average)
        assert torch.equal(problem.published(state)[IMAGES], average)
    slow = dataclasses.replace(problem, config=dataclasses.replace(problem.config, image_average=0.9))
    assert torch.equal(slow.published(state)[IMAGES], state.images)


def test_tesla_learns_the_probabilities_of_the_target_weights(make_network):
    network = make_network()
    problem = dataclasses.replace(problem_of("tesla", network), assigned=True)
    state, report = iterate(problem, begin(problem))
    theta = problem.experts.segment(report.expert_id, report.start_epoch + problem.config.expert_epochs, 0)[0]
    with torch.no_grad():
        place = 0
        for parameter in network.parameters():
            parameter.copy_(theta[place : place + parameter.numel()].view_as(parameter))
            place += parameter.numel()
        wanted = torch.softmax(network(state.images), 1)
    assert torch.allclose(problem.published(state)[TARGETS], wanted, rtol=1e-10)
    plain = iterate(dataclasses.replace(problem, assigned=False), begin(problem))[1]
    assert report.loss != plain.loss
