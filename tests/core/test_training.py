"""Training on a small set against a plain loop, and the score by hand."""

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
from ast_ray.core.training import TrainingAccuracy, TrainingRecipe, Trend, require_finite_loss, score, train_network
from ast_ray.errors import DivergenceError

RECIPE = TrainingRecipe(
    lr=0.05,
    passes=6,
    batch_size=4,
    momentum=0.9,
    weight_decay=5e-4,
    lr_decay_pass=3,
    lr_decay_factor=0.5,
    augmentation="none",
)


class Given(Network):
    """Logits are the pixels."""

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor, feature_mask: Tensor | None = None) -> Tensor:
        return x.flatten(1)


@pytest.mark.parametrize("batch_size", [1, 2, 500])
def test_score_by_hand(batch_size):
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 0.5], [3.0, 1.0]])
    labels = torch.tensor([0, 1, 1, 0, 0])
    result = score(Given(), logits.view(5, 2, 1, 1), labels, batch_size=batch_size)
    assert result.accuracy == 3 / 5
    right, wrong, close = (math.log(1 + math.exp(margin)) for margin in (-2, 2, 0.5))
    assert result.loss == pytest.approx((right + right + wrong + close + right) / 5, rel=1e-6)


def test_score_changes_nothing(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    before = flatten(network)
    result = score(network, images, labels)
    assert torch.equal(flatten(network), before)
    assert all(parameter.grad is None for parameter in network.parameters())
    expected = F.cross_entropy(network(images), labels).item()
    assert result.loss == pytest.approx(expected)


@pytest.mark.parametrize(("decay_pass", "factor"), [(3, 0.5), (3, 0.1), (0, 0.5)])
def test_training_is_a_plain_loop(make_network, make_images, decay_pass, factor):
    """Heavy ball with weight decay in the gradient, a new permutation per pass, the rate scaled once."""
    recipe = dataclasses.replace(RECIPE, lr_decay_pass=decay_pass, lr_decay_factor=factor)
    network, (images, labels) = make_network(), make_images()
    twin = make_network()
    train_network(network, images, labels, recipe, stream(0, "evaluate"))

    order, velocity = stream(0, "evaluate"), [0.0] * len(list(twin.parameters()))
    for number in range(6):
        lr = 0.05 * (factor if decay_pass and number >= decay_pass else 1.0)
        permutation = torch.randperm(6, generator=order)
        for rows in (permutation[:4], permutation[4:]):
            log_probability = twin(images[rows]).log_softmax(1)
            loss = -log_probability[torch.arange(len(rows)), labels[rows]].mean()
            gradients = torch.autograd.grad(loss, list(twin.parameters()))
            with torch.no_grad():
                for index, (parameter, gradient) in enumerate(zip(twin.parameters(), gradients, strict=True)):
                    velocity[index] = 0.9 * velocity[index] + gradient + 5e-4 * parameter
                    parameter -= lr * velocity[index]
    assert torch.allclose(flatten(network), flatten(twin), rtol=1e-9, atol=1e-12)


def test_augmentation_is_drawn_from_the_same_stream(make_network, make_images):
    (images, labels), weights = make_images(), {}
    for name, changes in {
        "none": {},
        "rotate": {"augmentation": "rotate"},
        "again": {"augmentation": "rotate"},
        "siamese": {"augmentation": "rotate", "siamese": True},
    }.items():
        network = make_network()
        train_network(network, images, labels, dataclasses.replace(RECIPE, **changes), stream(0))
        weights[name] = flatten(network)
    assert torch.equal(weights["rotate"], weights["again"])
    assert not torch.equal(weights["rotate"], weights["none"])
    assert not torch.equal(weights["rotate"], weights["siamese"])


def test_a_trained_network_knows_its_images(make_network, make_images):
    network, (images, labels) = make_network(), make_images(per_class=4)
    before = score(network, images, labels)
    train_network(network, images, labels, dataclasses.replace(RECIPE, passes=40), stream(0))
    after = score(network, images, labels)
    assert after.accuracy == 1.0
    assert after.loss < 0.2 * before.loss


def test_the_trend_of_training_accuracy_by_hand():
    """Sixteen passes over four images in batches of three and one: an eighth is two passes, eight images."""
    labels, watch = torch.zeros(4, dtype=torch.int64), TrainingAccuracy()
    right, wrong = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for number, correct in enumerate([0] * 12 + [1, 2, 3, 4]):
        logits = torch.stack([right] * correct + [wrong] * (4 - correct))
        watch.add(number, logits[:3], labels[:3])
        watch.add(number, logits[3:], labels[3:])
    assert watch.trend() == Trend(before=3 / 8, last=7 / 8)


def test_one_pass_has_no_trend_and_two_have_one():
    watch, labels = TrainingAccuracy(), torch.tensor([0])
    watch.add(0, torch.tensor([[0.0, 1.0]]), labels)
    assert watch.trend() is None
    watch.add(1, torch.tensor([[1.0, 0.0]]), labels)
    assert watch.trend() == Trend(before=0.0, last=1.0)


def test_watching_changes_nothing(make_network, make_images):
    (images, labels), watch = make_images(), TrainingAccuracy()
    plain, watched = make_network(), make_network()
    train_network(plain, images, labels, RECIPE, stream(0))
    train_network(watched, images, labels, RECIPE, stream(0), watch=watch)
    assert torch.equal(flatten(plain), flatten(watched))
    found = watch.trend()
    assert found is not None
    assert {found.before, found.last} <= {count / 6 for count in range(7)}


def test_divergence_is_an_error_that_names_the_rate(make_network, make_images):
    network, (images, labels) = make_network(), make_images()
    recipe = dataclasses.replace(RECIPE, lr=1e200)
    with pytest.raises(DivergenceError, match=r"evaluation diverged: training loss nan with learning rate 1e\+200"):
        require_finite_loss(train_network(network, images, labels, recipe, stream(0)), recipe)


def test_recipe_of_the_settings():
    config = EvaluateConfig(
        passes=7, batch_size=3, momentum=0.1, weight_decay=0.2, lr_decay_pass=4, lr_decay_factor=0.3
    )
    recipe = TrainingRecipe.of(config, lr=0.02, augmentation="flip", siamese=True)
    assert recipe == TrainingRecipe(
        lr=0.02,
        passes=7,
        batch_size=3,
        momentum=0.1,
        weight_decay=0.2,
        lr_decay_pass=4,
        lr_decay_factor=0.3,
        augmentation="flip",
        siamese=True,
    )
    fixed = TrainingRecipe.of(dataclasses.replace(config, lr=0.5), lr=0.02, augmentation="none")
    assert (fixed.lr, fixed.siamese) == (0.5, False)


def test_the_papers_protocol_is_the_default():
    config = EvaluateConfig()
    assert (config.networks, config.passes, config.batch_size) == (5, 1000, 256)
    assert (config.momentum, config.weight_decay) == (0.9, 5e-4)
    assert (config.lr_decay_pass, config.lr_decay_factor, config.lr) == (500, 0.5, 0.0)
