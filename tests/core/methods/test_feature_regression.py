"""FRePo's parts: ridge regression, learned labels, LAMB, the pool; and the loss's gradient."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import Config, DistillConfig
from ast_ray.core.methods.base import IMAGES, TARGETS, Sources
from ast_ray.core.methods.feature_regression import FeatureRegression, MemberDraw, open_problem
from ast_ray.core.methods.fresh import fresh_weights
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.methods.learned_labels import centred, initial_targets, margin
from ast_ray.core.methods.optimizers import Adam, Lamb, init
from ast_ray.core.methods.pool import AGES, LIVES, MEAN, SQUARE, WEIGHTS, Pool
from ast_ray.core.methods.ridge import predictions, regression_loss
from ast_ray.core.rng import stream
from ast_ray.errors import DivergenceError


def _rand(*shape: int, name: str = "x") -> Tensor:
    return torch.randn(*shape, generator=stream(0, name), dtype=torch.float64)


def test_the_prediction_of_two_orthogonal_images_by_hand():
    """phi(s) = I, so tr(K_ss)/S = 1 and K_reg = (1 + lambda) I; phi(x) = (2, 1) predicts (2 Y_1 + Y_2)/(1 + lambda)."""
    targets = torch.tensor([[0.5, -0.5], [-0.5, 0.5]])
    found = predictions(torch.eye(2), targets, torch.tensor([[2.0, 1.0]]), 0.1)
    assert found.dtype == torch.float64
    assert found.tolist()[0] == pytest.approx([0.5 / 1.1, -0.5 / 1.1], rel=1e-12)
    assert float(regression_loss(found, torch.tensor([[0.5, -0.5]]))) == pytest.approx((0.5 - 0.5 / 1.1) ** 2, rel=1e-6)


def test_a_ridge_near_zero_interpolates_the_set():
    features, targets = _rand(4, 7), _rand(4, 3, name="y")
    assert torch.allclose(predictions(features, targets, features, 1e-12), targets, atol=1e-9)


def test_the_prediction_is_that_of_least_squares_with_a_penalty():
    features, targets, real, ridge = _rand(9, 4), _rand(9, 3, name="y"), _rand(5, 4, name="r"), 0.3
    penalty = ridge * float((features @ features.T).trace()) / 9
    rows = np.vstack([features.numpy(), math.sqrt(penalty) * np.eye(4)])
    answers = np.vstack([targets.numpy(), np.zeros((4, 3))])
    weights = np.linalg.lstsq(rows, answers, rcond=None)[0]
    assert np.allclose(predictions(features, targets, real, ridge).numpy(), real.numpy() @ weights, rtol=1e-10)


def test_the_gradient_flows_through_the_trace():
    targets, real, wanted = _rand(4, 3, name="y"), _rand(5, 6, name="r"), _rand(5, 3, name="w")
    features = _rand(4, 6).requires_grad_()

    def loss(values: Tensor) -> Tensor:
        return regression_loss(predictions(values, targets, real, 0.5), wanted)

    (gradient,) = torch.autograd.grad(loss(features), features)
    direction = _rand(4, 6, name="d")
    steps = [float(loss(features.detach() + sign * 1e-6 * direction)) for sign in (1, -1)]
    assert float((gradient * direction).sum()) == pytest.approx((steps[0] - steps[1]) / 2e-6, rel=1e-7)


def test_features_that_are_not_finite_are_an_error_with_advice():
    with pytest.raises(DivergenceError, match="features of the synthetic images are not finite") as caught:
        predictions(torch.full((2, 2), math.nan), torch.eye(2), torch.eye(2), 1e-6)
    assert "feature_regression.lr" in caught.value.__notes__[0]
    with pytest.raises(DivergenceError, match="not positive definite") as caught:
        predictions(torch.zeros(2, 2), torch.eye(2), torch.eye(2), 1e-6)
    assert "feature_regression.ridge" in caught.value.__notes__[0]


def test_labels_begin_centred_and_scaled_by_the_number_of_classes():
    found = initial_targets(torch.tensor([7]), 100)[0]
    assert float(found[7]) == pytest.approx(0.99 / math.sqrt(10))
    assert float(found[0]) == pytest.approx(-0.01 / math.sqrt(10))
    assert float(centred(torch.tensor([7]), 100)[0].sum()) == pytest.approx(0, abs=1e-12)


def test_the_margin_pulls_below_one_in_k_and_no_more_above():
    close = torch.tensor([[0.5, 0.4, 0.0, 0.0], [0.1, 0.9, 0.2, 0.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(margin(close), close)
    assert float(margin(close.detach())) == pytest.approx((0.1 + 0.25) / 2)
    assert gradient.tolist() == [[0.5, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_lamb_by_hand_and_the_scale_of_the_gradient_does_not_matter():
    p, g = torch.tensor([3.0, 4.0], dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    found, _ = Lamb(3e-4).update(p, g, init(p), 1)
    assert found.tolist() == pytest.approx([2.998939, 4.001061], abs=1e-6)
    assert float((found - p).norm() / p.norm()) == pytest.approx(3e-4, rel=1e-9)
    other, _ = Lamb(3e-4, eps=0.0).update(p, 1e6 * g, init(p), 1)
    assert torch.allclose(other, Lamb(3e-4, eps=0.0).update(p, g, init(p), 1)[0], rtol=1e-12)
    zero = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(Lamb(3e-4).update(p, zero, init(p), 1)[0], p)
    assert Lamb(0.1).update(zero, g, init(zero), 1)[0].tolist() == pytest.approx([-0.1, 0.1], rel=1e-5)


def test_adam_is_torchs():
    ours = _rand(5)
    theirs = ours.clone().requires_grad_()
    torchs, moments = torch.optim.Adam([theirs], lr=0.02), init(ours)
    for step in range(1, 6):
        gradient = _rand(5, name=f"g{step}")
        theirs.grad = gradient
        torchs.step()
        ours, moments = Adam(0.02).update(ours, gradient, moments, step)
        assert torch.allclose(ours, theirs.detach(), rtol=1e-12)


@pytest.fixture
def pool(make_network) -> Pool:
    return Pool(make_network(), 10, 0.01, 100, 0)


def test_ages_are_spread_and_a_visited_member_alone_changes(pool, make_images):
    images, labels = make_images()
    targets, state = initial_targets(labels, 3), pool.begin(images)
    assert state[AGES].tolist() == list(range(0, 100, 10))
    after = pool.visit(state, 3, images, targets, 1)
    assert after[AGES].tolist() == [0, 10, 20, 31, 40, 50, 60, 70, 80, 90]
    for name, tensor in after.items():
        same = [torch.equal(tensor[member], state[name][member]) for member in range(10)]
        assert all(same[:3] + same[4:])
    assert not torch.equal(after[WEIGHTS][3], state[WEIGHTS][3])


def test_a_member_is_trained_at_the_largest_age_and_replaced_at_the_visit_after_it(pool, make_images):
    images, labels = make_images()
    targets, state = initial_targets(labels, 3), pool.begin(images)
    ages = []
    for number in range(1, 14):
        state = pool.visit(state, 9, images, targets, number)
        ages.append((int(state[AGES][9]), int(state[LIVES][9])))
    assert ages == [(age, 0) for age in range(91, 102)] + [(0, 1), (1, 1)]
    fresh = pool.visit({**state, AGES: torch.full_like(state[AGES], 101)}, 9, images, targets, 99)
    assert not fresh[MEAN][9].any()
    assert not fresh[SQUARE][9].any()
    life = int(fresh[LIVES][9])
    assert torch.equal(fresh[WEIGHTS][9], fresh_weights(pool.network, stream(0, "pool", 9, life)).to(images))
    assert not torch.equal(fresh[WEIGHTS][9], pool.begin(images)[WEIGHTS][9])


def test_a_visit_is_a_step_of_adam_on_half_the_squared_error(pool, make_images):
    images, labels = make_images()
    targets, state = initial_targets(labels, 3), pool.begin(images)
    network = pool.network
    with torch.no_grad():
        place = 0
        for parameter in network.parameters():
            size = parameter.numel()
            parameter.copy_(state[WEIGHTS][2][place : place + size].view_as(parameter))
            place += size
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for number in (1, 2):
        optimizer.zero_grad()
        (0.5 * (network(images) - targets).square().sum(1).mean()).backward()
        optimizer.step()
        state = pool.visit(state, 2, images, targets, number)
    theirs = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert torch.allclose(state[WEIGHTS][2], theirs, rtol=1e-9, atol=1e-12)


@pytest.fixture
def problem(make_network, make_images) -> FeatureRegression:
    _, labels = make_images()
    config = Config(distill=DistillConfig(ipc=2, iterations=20))
    settings = dataclasses.replace(config.feature_regression, real_batch=5, pool=3, max_age=4, ridge=1e-3, lr=0.05)
    config = dataclasses.replace(config, feature_regression=settings)
    real = torch.randn(12, 3, 8, 8, generator=stream(0, "real images"), dtype=torch.float64)
    return open_problem(Sources(config, make_network(), labels, 3, real_images=real, real_labels=torch.arange(12) % 3))


def test_every_real_image_is_seen_once_an_epoch_and_the_last_part_left_out(problem):
    first = torch.cat([problem.rows(number) for number in (1, 2)])
    second = torch.cat([problem.rows(number) for number in (3, 4)])
    assert len(first) == len(set(first.tolist())) == 10
    assert not torch.equal(first, second)
    assert torch.equal(problem.rows(3), problem.rows(3))


@pytest.mark.parametrize("flip", [True, False])
def test_the_gradient_is_that_of_central_differences(problem, make_images, flip):
    settings = dataclasses.replace(problem.sources.config.feature_regression, flip=flip)
    config = dataclasses.replace(problem.sources.config, feature_regression=settings)
    problem = dataclasses.replace(problem, sources=dataclasses.replace(problem.sources, config=config))
    state = problem.begin(make_images()[0], 0.0)
    soft = 0.02 * _rand(*state.tensors[TARGETS].shape, name="soft")
    state = state.changed({TARGETS: state.tensors[TARGETS] * 0.2 + soft})  # margins below 1/K pull
    draw = MemberDraw(1, 0, 1)
    found = problem.gradients(state, draw)
    for name in (IMAGES, TARGETS):
        direction = _rand(*state.tensors[name].shape, name=name)
        losses = [
            float(problem.gradients(state.changed({name: state.tensors[name] + sign * 1e-5 * direction}), draw).loss)
            for sign in (1, -1)
        ]
        expected = (losses[0] - losses[1]) / 2e-5
        assert float((found.learned[name] * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("flip", [True, False])
def test_the_loss_is_the_papers_written_out(problem, make_images, flip):
    """In numpy: kernel, ridge by its mean diagonal, squared error against one-hot minus 1/K, margin subtracted."""
    config = problem.sources.config
    config = dataclasses.replace(config, feature_regression=dataclasses.replace(config.feature_regression, flip=flip))
    problem = dataclasses.replace(problem, sources=dataclasses.replace(problem.sources, config=config))
    state = problem.begin(make_images()[0], 0.0)
    draw = MemberDraw(1, 0, 2)
    found = problem.gradients(state, draw)
    theta, place = state.tensors[WEIGHTS][2], 0
    with torch.no_grad():
        for parameter in problem.network.parameters():
            parameter.copy_(theta[place : place + parameter.numel()].view_as(parameter))
            place += parameter.numel()
        rows = problem.rows(1)
        images = state.images
        joined = torch.cat([images, torch.flip(images, [-1])]) if flip else images
        ours, theirs = (problem.network.features(one).numpy() for one in (joined, problem.images[rows]))
    learned = state.tensors[TARGETS].numpy()
    answers = np.vstack([learned, learned]) if flip else learned
    kernel = ours @ ours.T
    regular = kernel + 1e-3 * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    predicted = theirs @ ours.T @ np.linalg.solve(regular, answers)
    wanted = np.eye(3)[problem.real_labels[rows].numpy()] - 1 / 3
    squared = 0.5 * ((predicted - wanted) ** 2).sum(1).mean()
    ordered = np.sort(learned, axis=1)
    margins = np.minimum(ordered[:, -1] - ordered[:, -2], 1 / 3).mean()
    assert float(found.loss) == pytest.approx(squared - margins, rel=1e-9)
    assert float(found.parts[2]) == pytest.approx((predicted.argmax(1) == wanted.argmax(1)).mean())


def test_the_rate_falls_and_the_pool_learns_the_updated_set(problem, make_images):
    state = problem.begin(make_images()[0], 0.0)
    late = state.changed({}, iteration=19)
    moved = [float((iterate(problem, one)[0].images - one.images).norm() / one.images.norm()) for one in (state, late)]
    assert moved[0] == pytest.approx(0.05, rel=1e-6)
    assert moved[1] == pytest.approx(0.05 * (0.1 + 0.45 * (1 + math.cos(math.pi * 0.95))), rel=1e-6)
    after, report = iterate(problem, state)
    pool = problem.pool.visit(state.tensors, report.member, after.images, after.tensors[TARGETS], 1)
    assert torch.equal(after.tensors[WEIGHTS], pool[WEIGHTS])
    members = {iterate(problem, state.changed({}, iteration=number))[1].member for number in range(12)}
    assert members == {0, 1, 2}


def test_a_solve_that_fails_ends_with_its_iteration_and_advice(problem, make_images):
    state = problem.begin(make_images()[0], 0.0)
    broken = state.changed({WEIGHTS: torch.full_like(state.tensors[WEIGHTS], math.nan)})
    with pytest.raises(
        DivergenceError, match=r"iteration 1: features .* not finite; lower feature_regression\.lr"
    ) as caught:
        iterate(problem, broken)
    assert (caught.value.iteration, caught.value.advice) == (1, "lower feature_regression.lr")


def test_a_visit_takes_at_most_a_thousand_images_and_other_ones_each_time(make_network):
    pool = Pool(make_network(shape=(3, 4, 4)), 2, 0.01, 100, 0)
    images = torch.randn(1002, 3, 4, 4, generator=stream(0, "many"), dtype=torch.float64)
    targets = centred(torch.arange(1002) % 3, 3)
    state = pool.begin(images)
    first, again, other = (pool.visit(state, 0, images, targets, number)[WEIGHTS][0] for number in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_set_learns_to_predict_the_real_images(problem, make_images):
    state, losses = problem.begin(make_images()[0], 0.0), []
    for _ in range(20):
        state, report = iterate(problem, state)
        losses.append(report.relative_loss)
    assert sum(losses[-5:]) < sum(losses[:5])
    assert {IMAGES, TARGETS} <= problem.published(state).keys()
    assert not torch.equal(state.tensors[TARGETS], problem.begin(make_images()[0], 0.0).tensors[TARGETS])
