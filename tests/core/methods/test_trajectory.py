"""One outer iteration: its draws, its update; and all switches off = MTT, written out anew."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from ast_ray.config import Config
from ast_ray.config.methods import as_mtt
from ast_ray.core.methods.ast import balance
from ast_ray.core.methods.base import IMAGES, STUDENT_LR
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.rng import stream
from ast_ray.errors import StoreError
from tests.core.recorded import CONFIG, Recorded, copied, same


def test_the_first_state(begin, make_images):
    images = make_images()[0]
    state = begin()[0].begin(images, 0.02)
    assert torch.equal(state.images, images)
    assert state.images.data_ptr() != images.data_ptr()
    assert float(state.student_lr) == 0.02
    assert not state.tensors["image_velocity"].any()
    assert (float(state.tensors["lr_velocity"]), state.iteration, state.numbers["last_start_epoch"]) == (0.0, 0, -1)


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
        images.grad, alpha.grad = gradient.tensors["image_velocity"], gradient.tensors["lr_velocity"]
        optimizer.step()
        state, report = iterate(problem, state)
        assert torch.allclose(state.images, images.detach(), rtol=1e-12, atol=1e-14)
        assert float(state.student_lr) == pytest.approx(alpha.item(), rel=1e-12)
        assert report.image_gradient_norm == pytest.approx(float(gradient.tensors["image_velocity"].norm()))
        assert report.lr_gradient == pytest.approx(float(gradient.tensors["lr_velocity"]))
        assert float(state.student_lr) != CONFIG.student_lr


def test_only_the_segment_is_read_and_reported(begin):
    problem, state, experts = begin()
    state, report = iterate(problem, state)
    assert experts.asked == [(report.expert_id, report.start_epoch, 2)]
    assert state.iteration == report.iteration == 1
    assert state.numbers["last_start_epoch"] == report.start_epoch
    assert report.nu == balance(report.start_epoch, 3)
    assert report.student_lr == 0.05
    assert len(report.parts) == 2
    assert report.loss == pytest.approx(sum(report.parts))
    assert report.relative_loss == pytest.approx(report.loss / 2)


def test_experts_and_start_epochs_are_drawn_uniformly(begin):
    problem, state, experts = begin(dataclasses.replace(CONFIG, syn_steps=1, expert_epochs=1), count=3)
    for number in range(180):
        iterate(problem, state.changed({}, iteration=number))
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
    kept = copied(state)
    first, again = iterate(problem, state), iterate(problem, state)
    assert same(first[0], again[0])
    assert first[1] == again[1]
    assert same(state, kept)
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
        assert float((after.tensors["image_velocity"] - images).norm()) <= 1e-10 * float(images.norm())
        assert float(after.tensors["lr_velocity"]) == pytest.approx(float(alpha), rel=1e-10)
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
    draws = [three.draw(state, place) for place in range(3)]
    results = [three.gradients(state, draw) for draw in draws]
    assert torch.equal(results[0].learned[IMAGES], alone.tensors["image_velocity"])
    mean = (results[0].learned[IMAGES] + results[1].learned[IMAGES] + results[2].learned[IMAGES]) / 3
    assert torch.equal(after.tensors["image_velocity"], mean)
    assert float(after.tensors["lr_velocity"]) == pytest.approx(
        sum(float(result.learned[STUDENT_LR]) for result in results) / 3, rel=1e-12
    )
    assert report.loss == pytest.approx(sum(float(result.loss) for result in results) / 3, rel=1e-12)
    assert report.nu == pytest.approx(sum(draw.nu for draw in draws) / 3)
    assert (report.expert_id, report.start_epoch) == (first.expert_id, first.start_epoch)
    assert after.numbers["last_start_epoch"] == first.start_epoch
    assert "segments" in report.row()
    assert "segments" not in first.row()


def test_the_segments_of_an_iteration_are_independent(begin):
    """No two of them share their draws, their perturbation, or the plan of the student's steps."""
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=2, max_start_epoch=1), count=1)
    one, two = (problem.draw(state, place) for place in range(2))
    assert (one.expert_id, one.start_epoch) == (two.expert_id, two.start_epoch)
    assert not torch.equal(problem.gradients(state, one).learned[IMAGES], problem.gradients(state, two).learned[IMAGES])
    plain = dataclasses.replace(problem, config=dataclasses.replace(problem.config, rho=0.0))
    assert not torch.equal(plain.gradients(state, one).learned[IMAGES], plain.gradients(state, two).learned[IMAGES])


def test_who_matches_which_segment_is_the_callers_choice(begin):
    problem, state, _ = begin(dataclasses.replace(CONFIG, segments=3))

    def backwards(problem, state, draws):
        return [problem.gradients(state, draw) for draw in reversed(draws)][::-1]

    ours, theirs = iterate(problem, state), iterate(problem, state, backwards)
    assert same(ours[0], theirs[0])
    assert ours[1] == theirs[1]
