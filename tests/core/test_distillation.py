"""One outer iteration: its draws, its update, what it refuses; and all switches off = MTT, written out anew."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ast_ray.config import Config
from ast_ray.config.presets.modifiers import as_mtt
from ast_ray.config.settings import DistillConfig
from ast_ray.core.distillation import (
    SKIPS_IN_A_ROW,
    DistillState,
    Problem,
    draw_segment,
    iterate,
    match_segment,
)
from ast_ray.core.flat_params import flatten
from ast_ray.core.inner_loss import balance
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError, StoreError

CONFIG = DistillConfig(
    syn_steps=4, expert_epochs=2, max_start_epoch=3, student_lr=0.05, outer="sgd", lr_img=0.5, lr_lr=1e-3, rho=0.05
)


class Recorded:
    """Trajectories in memory: random walks from a network's weights; notes what was read."""

    def __init__(self, start: Tensor, count: int = 2, epochs: int = 6) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.trajectories = []
        for expert in range(count):
            generator, walk = stream(expert, "walk"), [start]
            for _ in range(epochs):
                walk.append(walk[-1] + 0.03 * torch.randn(start.shape, generator=generator, dtype=start.dtype))
            self.trajectories.append(walk)

    def __len__(self) -> int:
        return len(self.trajectories)

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        self.asked.append((expert_id, start_epoch, length))
        return self.trajectories[expert_id][start_epoch : start_epoch + length + 1]


@pytest.fixture
def begin(make_network, make_images):
    """(problem, state, experts) of some settings."""

    def start(config: DistillConfig = CONFIG, *, seed: int = 0, **options: object):
        network, (images, labels) = make_network(), make_images()
        experts = Recorded(flatten(network), **options)
        problem = Problem(network=network, labels=labels, experts=experts, config=config, seed=seed)
        return problem, DistillState.begin(images, config.student_lr), experts

    return start


def _same(a: DistillState, b: DistillState) -> bool:
    return a.numbers == b.numbers and all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def _copy(state: DistillState) -> DistillState:
    return DistillState.from_saved({name: tensor.clone() for name, tensor in state.tensors.items()}, state.numbers)


def test_the_first_state(make_images):
    images = make_images()[0]
    state = DistillState.begin(images, 0.02)
    assert torch.equal(state.images, images)
    assert state.images.data_ptr() != images.data_ptr()
    assert float(state.student_lr) == 0.02
    assert not state.outer.image_velocity.any()
    assert (float(state.outer.lr_velocity), state.iteration, state.last_start_epoch) == (0.0, 0, -1)


def test_update_is_torch_sgd_with_momentum(begin):
    """Gradients come from a twin without outer momentum at the same state: its velocity is the gradient."""
    problem, state, _ = begin()
    twin = dataclasses.replace(problem, config=dataclasses.replace(CONFIG, outer_momentum=0.0))
    images, alpha = state.images.clone().requires_grad_(), state.student_lr.clone().requires_grad_()
    optimizer = torch.optim.SGD(
        [{"params": [images], "lr": CONFIG.lr_img}, {"params": [alpha], "lr": CONFIG.lr_lr}], momentum=0.5
    )
    for _ in range(4):
        gradient = iterate(twin, state)[0]
        images.grad, alpha.grad = gradient.outer.image_velocity, gradient.outer.lr_velocity
        optimizer.step()
        state, report = iterate(problem, state)
        assert torch.allclose(state.images, images.detach(), rtol=1e-12, atol=1e-14)
        assert float(state.student_lr) == pytest.approx(alpha.item(), rel=1e-12)
        assert report.image_gradient_norm == pytest.approx(float(gradient.outer.image_velocity.norm()))
        assert report.lr_gradient == pytest.approx(float(gradient.outer.lr_velocity))
        assert float(state.student_lr) != CONFIG.student_lr


def test_only_the_segment_is_read_and_reported(begin):
    problem, state, experts = begin()
    state, report = iterate(problem, state)
    assert experts.asked == [(report.expert_id, report.start_epoch, 2)]
    assert state.iteration == report.iteration == 1
    assert state.last_start_epoch == report.start_epoch
    assert report.nu == balance(report.start_epoch, 3)
    assert report.student_lr == 0.05
    assert len(report.parts) == 2
    assert report.loss == pytest.approx(sum(report.parts))
    assert report.relative_loss == pytest.approx(report.loss / 2)


def test_experts_and_start_epochs_are_drawn_uniformly(begin):
    problem, state, experts = begin(dataclasses.replace(CONFIG, syn_steps=1, expert_epochs=1), count=3)
    for number in range(180):
        iterate(problem, dataclasses.replace(state, iteration=number))
    counts = [experts.asked.count((expert, epoch, 1)) for expert in range(3) for epoch in range(3)]
    assert sum(counts) == 180
    assert sum((count - 20) ** 2 / 20 for count in counts) < 26.1  # chi-square, 8 degrees of freedom, p = 0.001


def test_the_window_follows_the_iterations(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, max_start_epoch=5, start_epoch_window=1, lr_lr=0.0))
    epochs = []
    for _ in range(12):
        state, report = iterate(problem, state)
        epochs.append(report.start_epoch)
    assert all(abs(after - before) <= 1 for before, after in itertools.pairwise(epochs))
    assert len(set(epochs)) > 1


def test_iterations_are_pure_and_seeded(begin):
    problem, state, _ = begin()
    kept = _copy(state)
    first, again = iterate(problem, state), iterate(problem, state)
    assert _same(first[0], again[0])
    assert first[1] == again[1]
    assert _same(state, kept)
    assert not torch.equal(first[0].images, iterate(dataclasses.replace(problem, seed=1), state)[0].images)


def test_both_gradients_give_the_same_iteration(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, student_momentum=0.9, batch_size=4, dropout=0.2))
    full = dataclasses.replace(problem, config=dataclasses.replace(problem.config, gradient="full_graph"))
    ours, theirs = iterate(problem, state)[0], iterate(full, state)[0]
    assert torch.allclose(ours.images, theirs.images, rtol=1e-10, atol=1e-13)
    assert float(ours.student_lr) == pytest.approx(float(theirs.student_lr), rel=1e-12)


def test_the_loss_starts_at_one_from_the_perturbed_start(begin):
    """A student that hardly moves stays at 1 of the distance between its own (perturbed) start and the clean target."""
    problem, state, _ = begin(dataclasses.replace(CONFIG, rho=0.5, student_lr=1e-9, lr_lr=0.0))
    report = iterate(problem, state)[1]
    assert report.parts == pytest.approx((1.0, 1.0), rel=1e-6)


def test_switches_change_what_they_name(begin):
    results = {}
    for name, changes in {
        "ast": {},
        "no perturbation": {"rho": 0.0},
        "unbalanced": {"balanced_inner_loss": False},
        "final": {"beta_strategy": "final"},
        "scaled": {"beta_strategy": "scaled"},
        "momentum": {"student_momentum": 0.9},
        "dropout": {"dropout": 0.5},
        "no augmentation": {"augmentation": "none"},
        "batches": {"batch_size": 4},
        "convolutions only": {"perturb_scope": "conv"},
        "vectors as well": {"perturb_vectors": True},
        "another offset": {"vartheta": 4.0},
        "another base": {"log_base": 5.0},
    }.items():
        problem, state, _ = begin(dataclasses.replace(CONFIG, **changes))
        state, report = iterate(problem, state)
        results[name] = (float(state.images.sum()), report)
    assert len({total for total, _ in results.values()}) == len(results)
    epoch = results["ast"][1].start_epoch
    assert results["unbalanced"][1].nu == 1.0
    assert results["another offset"][1].nu == balance(epoch, 3, vartheta=4.0)
    assert results["another base"][1].nu == balance(epoch, 3, log_base=5.0)
    assert len(results["final"][1].parts) == 1
    assert results["scaled"][1].relative_loss == pytest.approx(results["scaled"][1].loss / 1.5)


@pytest.mark.parametrize("outer", ["normalized", "sgd"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_skipped_and_ten_in_a_row_stop(begin, value, outer):
    problem, state, experts = begin(dataclasses.replace(CONFIG, outer=outer))
    state = good = iterate(problem, state)[0]
    for walk in experts.trajectories:
        walk[:] = [point.clone().fill_(value) if epoch else point for epoch, point in enumerate(walk)]
    for number in range(1, SKIPS_IN_A_ROW):
        state, report = iterate(problem, state)
        assert report.unusable == "matching loss is nan"
        assert report.row()["relative_loss"] is None
        assert (report.skipped, state.skipped, state.skipped_in_a_row) == (number, number, number)
        assert all(torch.equal(state.tensors[name], good.tensors[name]) for name in good.tensors)
        assert (state.iteration, state.outer.updates) == (1 + number, 1)
    kept = _copy(state)
    with pytest.raises(
        DivergenceError, match=r"iteration 11, expert \d, start epoch \d: matching loss is nan, 10 iter.*lower"
    ):
        iterate(problem, state)
    assert _same(state, kept)


def _with_gradient_times(factor):
    """A matcher whose image gradients are those of the problem, multiplied."""

    def match(problem, state, draws):
        results = [match_segment(problem, state, draw) for draw in draws]
        return [dataclasses.replace(result, images=result.images * factor) for result in results]

    return match


def test_an_infinite_gradient_is_skipped_and_the_next_iteration_goes_on(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, outer="normalized"))
    state = iterate(problem, state)[0]
    skipped, report = iterate(problem, state, _with_gradient_times(math.inf))
    assert report.unusable.startswith("image gradient is ")
    assert torch.equal(skipped.images, state.images)
    assert torch.equal(skipped.student_lr, state.student_lr)
    after, report = iterate(problem, skipped)
    assert (report.unusable, report.skipped, after.skipped_in_a_row) == ("", 1, 0)
    assert not torch.equal(after.images, skipped.images)


def test_a_gradient_far_beyond_its_scale_is_skipped_and_a_lasting_change_is_followed(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, outer="normalized"))
    for _ in range(6):
        state, report = iterate(problem, state)
        assert not report.unusable
    one, report = iterate(problem, state, _with_gradient_times(1e6))
    assert report.unusable == "image gradient is far beyond its running scale"
    assert torch.equal(one.images, state.images)
    number = 1
    while report.unusable:
        one, report = iterate(problem, one, _with_gradient_times(1e6))
        number += 1
    assert number < SKIPS_IN_A_ROW
    sgd = dataclasses.replace(problem, config=dataclasses.replace(problem.config, outer="sgd"))
    assert not iterate(sgd, state, _with_gradient_times(50.0))[1].unusable


def test_a_bad_segment_among_good_ones_is_left_out_of_the_mean(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=3, outer_momentum=0.0))

    def second_breaks(problem, state, draws):
        results = [match_segment(problem, state, draw) for draw in draws]
        results[1] = dataclasses.replace(results[1], images=results[1].images * math.nan)
        return results

    after, report = iterate(problem, state, second_breaks)
    draws = [draw_segment(problem, state, place) for place in range(3)]
    first, _, third = (match_segment(problem, state, draw) for draw in draws)
    assert torch.equal(after.outer.image_velocity, (first.images + third.images) / 2)
    assert report.loss == pytest.approx(float(first.loss + third.loss) / 2)
    assert (report.skipped, after.skipped, after.skipped_in_a_row) == (1, 1, 0)
    assert math.isfinite(report.image_gradient_norm)


@pytest.mark.parametrize(("velocity", "becomes"), [(1e6, r"-\S+"), (-1e308, "inf"), (math.nan, "nan")])
def test_alpha_must_stay_positive_and_finite(begin, velocity, becomes):
    problem, state, _ = begin(dataclasses.replace(CONFIG, lr_lr=10.0))
    outer = dataclasses.replace(state.outer, lr_velocity=torch.tensor(velocity, dtype=torch.float64))
    state = dataclasses.replace(state, outer=outer)
    kept = _copy(state)
    with pytest.raises(DivergenceError, match=rf"alpha would become {becomes} \(alpha was 0\.05.*lower distill\.lr_lr"):
        iterate(problem, state)
    assert torch.equal(state.images, kept.images)
    assert (float(state.student_lr), state.iteration) == (0.05, 0)


def test_pixels_must_stay_finite(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, lr_img=10.0))
    outer = dataclasses.replace(state.outer, image_velocity=torch.full_like(state.images, 1e308))
    state = dataclasses.replace(state, outer=outer)
    kept = _copy(state)
    with pytest.raises(DivergenceError, match=r"iteration 1, .*pixels would stop being finite .*lower distill\.lr_img"):
        iterate(problem, state)
    assert _same(state, kept)


def test_an_expert_that_stands_still_is_an_error(begin):
    problem, state, experts = begin(dataclasses.replace(CONFIG, rho=0.0))
    for walk in experts.trajectories:
        walk[:] = walk[:1] * len(walk)
    with pytest.raises(StoreError, match="zero denominator"):
        iterate(problem, state)


def _mtt(network, images, labels, segment, steps, alpha, batches):
    """Matching Training Trajectories: unroll N plain SGD steps, one normalised squared distance at the end."""
    images, alpha = images.clone().requires_grad_(), torch.tensor(alpha, dtype=images.dtype).requires_grad_()
    names, shapes = zip(*((name, parameter.shape) for name, parameter in network.named_parameters()), strict=True)
    student = segment[0].clone().requires_grad_()
    for step in range(steps):
        rows = batches[step]
        weights, place = {}, 0
        for name, shape in zip(names, shapes, strict=True):
            weights[name] = student[place : place + shape.numel()].reshape(shape)
            place += shape.numel()
        loss = F.cross_entropy(functional_call(network, weights, images[rows]), labels[rows])
        (gradient,) = torch.autograd.grad(loss, student, create_graph=True)
        student = student - alpha * gradient
    match = ((student - segment[-1]) ** 2).sum() / ((segment[0] - segment[-1]) ** 2).sum()
    return (match.item(), *torch.autograd.grad(match, (images, alpha)))


@pytest.mark.parametrize("batch_size", [0, 4])
def test_all_switches_off_is_mtt(begin, batch_size):
    settings = dataclasses.replace(CONFIG, batch_size=batch_size, augmentation="none", outer_momentum=0.0, dropout=0.5)
    problem, state, experts = begin(as_mtt(Config(distill=settings)).distill)
    for number in range(1, 4):
        order = stream(0, "distill", number, "student")
        batches = [torch.arange(6)] * 4
        if batch_size:
            first, second = (torch.randperm(6, generator=order) for _ in range(2))
            batches = [first[:4], first[4:], second[:4], second[4:]]
        after, report = iterate(problem, state)
        segment = Recorded.segment(experts, report.expert_id, report.start_epoch, 2)
        loss, images, alpha = _mtt(
            problem.network, state.images, problem.labels, segment, 4, float(state.student_lr), batches
        )
        assert report.loss == pytest.approx(loss, rel=1e-12)
        assert float((after.outer.image_velocity - images).norm()) <= 1e-10 * float(images.norm())
        assert float(after.outer.lr_velocity) == pytest.approx(float(alpha), rel=1e-10)
        state = after


def test_several_segments_are_matched_and_their_gradients_averaged(begin):
    """The first draws what a single one draws; the update is that of the mean gradient, the losses are means."""
    one, state, single = begin(dataclasses.replace(CONFIG, outer_momentum=0.0))
    three, _, experts = begin(dataclasses.replace(CONFIG, outer_momentum=0.0, segments=3))
    after, report = iterate(three, state)
    alone, first = iterate(one, state)
    assert experts.asked[:1] == single.asked
    assert report.segments == tuple((expert, epoch) for expert, epoch, _ in experts.asked)
    assert len(set(report.segments)) > 1
    draws = [draw_segment(three, state, place) for place in range(3)]
    results = [match_segment(three, state, draw) for draw in draws]
    assert torch.equal(results[0].images, alone.outer.image_velocity)
    mean = (results[0].images + results[1].images + results[2].images) / 3
    assert torch.equal(after.outer.image_velocity, mean)
    assert float(after.outer.lr_velocity) == pytest.approx(
        sum(float(result.alpha) for result in results) / 3, rel=1e-12
    )
    assert report.loss == pytest.approx(sum(float(result.loss) for result in results) / 3, rel=1e-12)
    assert report.nu == pytest.approx(sum(draw.nu for draw in draws) / 3)
    assert (report.expert_id, report.start_epoch) == (first.expert_id, first.start_epoch)
    assert after.last_start_epoch == first.start_epoch
    assert "segments" in report.row()
    assert "segments" not in first.row()


def test_the_segments_of_an_iteration_are_independent(begin):
    """No two of them share their draws, their perturbation, or the plan of the student's steps."""
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=2, max_start_epoch=1), count=1)
    one, two = (draw_segment(problem, state, place) for place in range(2))
    assert (one.expert_id, one.start_epoch) == (two.expert_id, two.start_epoch)
    assert not torch.equal(match_segment(problem, state, one).images, match_segment(problem, state, two).images)
    plain = dataclasses.replace(problem, config=dataclasses.replace(problem.config, rho=0.0))
    assert not torch.equal(match_segment(plain, state, one).images, match_segment(plain, state, two).images)


def test_who_matches_which_segment_is_the_callers_choice(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=3))

    def backwards(problem, state, draws):
        return [match_segment(problem, state, draw) for draw in reversed(draws)][::-1]

    ours, theirs = iterate(problem, state), iterate(problem, state, backwards)
    assert _same(ours[0], theirs[0])
    assert ours[1] == theirs[1]


def test_a_divergence_of_several_segments_says_that_it_is_the_mean(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=4, lr_lr=1e9))
    kept = _copy(state)
    with pytest.raises(DivergenceError, match=r"iteration 1, mean of 4 segments: alpha would become"):
        iterate(problem, state)
    assert _same(state, kept)
