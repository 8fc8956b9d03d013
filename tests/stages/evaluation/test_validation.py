from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ast_ray.config import Config
from ast_ray.core import precision
from ast_ray.errors import DivergenceError
from ast_ray.stages.evaluation import validation
from ast_ray.stages.evaluation.validation import networks_together, validation_accuracies
from tests.tiny import tiny_plan


def test_validating_together_gives_the_accuracies_of_one_by_one(
    tiny: Callable[..., Config], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(tiny(distill__validate_networks=3), tmp_path)
    images, labels = plan.data.train_images[torch.arange(20)], plan.data.train_labels[:20]
    alone = validation_accuracies(plan.config, plan.data, images, labels, 0.05)
    called: list[int] = []
    real = validation.train_networks_together

    def counted(networks: list[torch.nn.Module], *rest: object) -> list[float]:
        called.append(len(networks))
        return real(networks, *rest)

    monkeypatch.setattr(validation, "train_networks_together", counted)
    config = tiny(distill__validate_networks=3, compute__networks_together=2)
    together = validation_accuracies(config, plan.data, images, labels, 0.05)
    assert called == [2, 1]
    assert together == pytest.approx(alone, abs=0.02)


def test_divergence_is_told_with_the_number_of_the_network(
    tiny: Callable[..., Config], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(tiny(distill__validate_networks=3, compute__networks_together=2), tmp_path)
    images, labels = plan.data.train_images[torch.arange(20)], plan.data.train_labels[:20]
    losses = iter([[1.0, 2.0], [float("inf")]])
    monkeypatch.setattr(validation, "train_networks_together", lambda *_: next(losses))
    with pytest.raises(DivergenceError, match=r"training loss inf of network 2 with learning rate 0\.05"):
        validation_accuracies(plan.config, plan.data, images, labels, 0.05)


def test_automatic_is_one_at_a_time_on_a_cpu(tiny: Callable[..., Config]) -> None:
    assert networks_together(tiny(), torch.device("cpu")) == 1
    assert networks_together(tiny(), torch.device("cuda")) == 8
    assert networks_together(tiny(compute__networks_together=3), torch.device("cpu")) == 3


def test_a_validation_is_in_float32_whatever_is_allowed_around_it(
    tiny: Callable[..., Config], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(tiny(), tmp_path)
    images, labels = plan.data.train_images[torch.arange(20)], plan.data.train_labels[:20]
    seen: list[tuple[bool, bool]] = []
    real = validation.train_network

    def watched(*given: object, **options: object) -> float:
        seen.append(precision._tf32())
        return real(*given, **options)

    monkeypatch.setattr(validation, "train_network", watched)
    with precision.tf32_allowed(True):
        validation_accuracies(plan.config, plan.data, images, labels, 0.05)
        assert precision._tf32() == (True, True)
    assert set(seen) == {(False, False)}
