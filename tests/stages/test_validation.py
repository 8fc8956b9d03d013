from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ast_ray.config import Config
from ast_ray.stages import validation
from ast_ray.stages.validation import networks_together, validation_accuracies
from tests.tiny import tiny_plan


def test_validating_together_gives_the_accuracies_of_one_by_one(
    tiny: Callable[..., Config], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(tiny(distill__validate_networks=3), tmp_path)
    images, labels = plan.data.train_images[torch.arange(20)], plan.data.train_labels[:20]
    alone = validation_accuracies(plan.config, plan.data, images, labels, 0.05)
    called: list[int] = []
    real = validation.train_networks_together
    monkeypatch.setattr(
        validation,
        "train_networks_together",
        lambda networks, *rest: (called.append(len(networks)), real(networks, *rest)),
    )
    config = tiny(distill__validate_networks=3, compute__networks_together=2)
    together = validation_accuracies(config, plan.data, images, labels, 0.05)
    assert called == [2, 1]
    assert together == pytest.approx(alone, abs=0.02)


def test_automatic_is_one_at_a_time_on_a_cpu(tiny: Callable[..., Config]) -> None:
    assert networks_together(tiny(), torch.device("cpu")) == 1
    assert networks_together(tiny(), torch.device("cuda")) == 8
    assert networks_together(tiny(compute__networks_together=3), torch.device("cpu")) == 3
