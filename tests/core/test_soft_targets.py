"""Training on soft labels against hard ones, a closed form and a plain loop; the answers of each protocol."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import EvaluateConfig
from ast_ray.core.networks import Network
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from ast_ray.core.training import (
    TrainingAccuracy,
    TrainingRecipe,
    answers_of,
    train_network,
    train_networks_together,
)

RECIPE = TrainingRecipe(0.05, 6, 4, 0.9, 5e-4, 3, 0.5, "none")
FREPO = TrainingRecipe.of(EvaluateConfig(), lr=0.02, augmentation="none", protocol="frepo")
K = 3


class Linear(Network):
    """Logits are an affine map of the pixels [B, 1, 2, 2]."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.classifier = torch.nn.utils.skip_init(torch.nn.Linear, 4, K).double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=stream(number, "at"), dtype=torch.float64))

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(10, 1, 2, 2, generator=stream(0, "images"), dtype=torch.float64)


@pytest.fixture
def targets() -> Tensor:
    return torch.randn(10, K, generator=stream(0, "targets"), dtype=torch.float64)


@pytest.mark.parametrize("siamese", [False, True])
def test_one_hot_targets_are_hard_labels(make_network, make_images, siamese):
    images, labels = make_images()
    one_hot = F.one_hot(labels, K).double()
    recipe = dataclasses.replace(RECIPE, augmentation="crop_flip", siamese=siamese)
    hard, soft = make_network(), make_network()
    train_network(hard, images, labels, recipe, stream(0))
    train_network(soft, images, one_hot, recipe, stream(0))
    assert (flatten(hard) - flatten(soft)).abs().max() < 1e-12
    other = make_network()
    train_network(other, images, one_hot.roll(1, 0), recipe, stream(0))
    assert (flatten(hard) - flatten(other)).abs().max() > 1e-3


def test_hard_labels_under_squared_error_are_centred_one_hot_rows(make_network, make_images):
    images, labels = make_images()
    recipe = dataclasses.replace(RECIPE, loss="mse")
    hard, soft = make_network(), make_network()
    train_network(hard, images, labels, recipe, stream(0))
    train_network(soft, images, F.one_hot(labels, K).double() - 1 / 3, recipe, stream(0))
    assert torch.equal(flatten(hard), flatten(soft))


def test_squared_error_by_hand():
    logits, answers = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    recipe = dataclasses.replace(RECIPE, loss="mse")
    assert recipe.losses(logits, answers).tolist() == [2.5, 12.5]
    assert float(recipe.loss_of(logits, answers)) == 7.5
    assert recipe.losses(logits, torch.tensor([1, 0])).tolist() == pytest.approx([(1.5**2 + 1.5**2) / 2, 0.25])


def test_squared_error_leads_a_linear_network_to_the_closed_form(images, targets):
    """Least squares of the targets on pixels and a constant."""
    recipe = TrainingRecipe(0.1, 3000, 10, 0.9, 0.0, 0, 1.0, "none", loss="mse")
    network = Linear()
    train_network(network, images, targets, recipe, stream(0))
    design = torch.cat([images.flatten(1), torch.ones(10, 1, dtype=torch.float64)], 1)
    wanted = torch.linalg.lstsq(design, targets).solution
    found = torch.cat([network.classifier.weight.T, network.classifier.bias[None]])
    assert (found - wanted).abs().max() < 1e-9


def test_frepo_is_adam_on_squared_error_with_its_schedule(images, targets):
    """Ten images take a thousand steps; the schedule is written out again."""
    network, twin = Linear(), Linear()
    train_network(network, images, targets, FREPO, stream(0))
    optimizer = torch.optim.Adam(twin.parameters(), lr=1.0)
    for step in range(1000):
        share = step / 500 if step < 500 else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 500) / 500))
        optimizer.param_groups[0]["lr"] = 3e-4 * share
        optimizer.zero_grad()
        (0.5 * (twin(images) - targets).square().sum() / 10).backward()
        optimizer.step()
    assert torch.allclose(flatten(network), flatten(twin), rtol=1e-9, atol=1e-12)
    assert (flatten(network) - flatten(Linear())).abs().max() > 0.01


def test_frepos_schedule_at_its_corners():
    for images, steps in ((10, 1000), (1000, 10000)):
        assert FREPO.rate(0, images) == 0.0
        assert FREPO.rate(250, images) == 1.5e-4
        assert FREPO.rate(500, images) == 3e-4
        assert FREPO.rate(500 + (steps - 500) // 2, images) == pytest.approx(3e-4 * 1.01 / 2)
        assert FREPO.rate(steps, images) == pytest.approx(3e-6)
        assert 3e-6 < FREPO.rate(steps - 1, images) < 3.02e-6


@pytest.mark.parametrize(
    ("images", "steps"),
    [
        (10, 1000), (100, 2000), (200, 20000), (400, 5000), (500, 5000), (1000, 10000), (2000, 40000), (5000, 40000),
        (1, 1000), (31, 1000), (32, 2000), (141, 2000), (142, 20000), (282, 20000), (283, 5000), (50000, 40000),
    ],
)  # fmt: skip
def test_frepos_steps_by_the_number_of_images(images, steps):
    assert FREPO.steps(images) == steps
    per_pass = math.ceil(images / 500)
    assert (FREPO.passes_over(images) - 1) * per_pass < steps <= FREPO.passes_over(images) * per_pass


def test_a_pass_that_is_too_long_is_cut(monkeypatch, images, targets):
    """Three steps a pass, five in all: the first two of the second pass are the last."""
    monkeypatch.setattr("ast_ray.core.training._FREPO_STEPS", {10: 5})
    recipe, passes = dataclasses.replace(FREPO, batch_size=4), list[int]()
    watch = TrainingAccuracy()
    train_network(Linear(), images, targets, recipe, stream(0), after_pass=passes.append, watch=watch)
    assert passes == [1, 2]
    assert watch._seen == [10, 8]


@pytest.mark.parametrize(("loss", "optimizer"), [("ce", "sgd"), ("mse", "sgd"), ("mse", "adam")])
def test_together_as_one_after_the_other(monkeypatch, images, targets, loss, optimizer):
    monkeypatch.setattr("ast_ray.core.training._FREPO_STEPS", {10: 1010})
    answers = targets.softmax(1) if loss == "ce" else targets
    recipe = dataclasses.replace(RECIPE, loss=loss, optimizer=optimizer, batch_size=4)
    alone, together = ([Linear(number) for number in range(3)] for _ in range(2))
    watches, wanted = ([TrainingAccuracy() for _ in range(3)] for _ in range(2))
    for number, network in enumerate(alone):
        train_network(network, images, answers, recipe, stream(0, number), watch=wanted[number])
    train_networks_together(together, images, answers, recipe, [stream(0, n) for n in range(3)], watches)
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert torch.allclose(flatten(one), flatten(other), rtol=1e-9, atol=1e-11)
        assert not torch.allclose(flatten(other), flatten(Linear(number)))
    assert [watch.trend() for watch in watches] == [watch.trend() for watch in wanted]


def test_dc_is_fixed_and_hard():
    settings = EvaluateConfig(lr=0.5, passes=3)
    recipe = TrainingRecipe.of(settings, lr=0.02, augmentation="flip", siamese=True, protocol="dc")
    assert recipe == TrainingRecipe(0.01, 300, 256, 0.9, 5e-4, 151, 0.1, "none")
    assert (recipe.rate(150, 10), recipe.rate(151, 10)) == (0.01, 0.001)
    assert (recipe.rate(301, 257), recipe.rate(302, 257)) == (0.01, 0.001)  # two steps a pass
    assert TrainingRecipe.of(settings, lr=0.02, augmentation="flip", siamese=True, protocol="frepo") == (
        dataclasses.replace(FREPO, augmentation="flip")
    )


@pytest.mark.parametrize("protocol", ["strict", "mtt", "ast", "peak", "no-augmentation", "dc", "frepo"])
def test_what_each_protocol_trains_on(protocol):
    labels = torch.tensor([0, 1])
    rows = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.75, 0.25]])
    assert answers_of(labels, None, "ce", protocol) is labels
    assigned, learned = (answers_of(labels, rows, loss, protocol) for loss in ("ce", "mse"))
    if protocol == "dc":
        assert assigned.tolist() == [0, 1]
    else:
        assert torch.equal(assigned, rows - 1 / 3 if protocol == "frepo" else rows)
    if protocol == "frepo":
        assert torch.equal(learned, rows)
    else:
        assert learned.tolist() == [1, 1]
