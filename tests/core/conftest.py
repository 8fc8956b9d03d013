"""A small distillation to begin, and no test of the method may move a global random state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.parameters import flatten
from tests.core.recorded import CONFIG, Recorded


@pytest.fixture(autouse=True)
def _global_random_state_is_untouched() -> Iterator[None]:
    torch_before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    yield
    assert torch.equal(torch.get_rng_state(), torch_before), "the global torch generator was used"
    assert np.array_equal(np.random.get_state()[1], numpy_before), "the global numpy generator was used"


@pytest.fixture
def begin(make_network, make_images):
    """(problem, state, experts) of some settings."""

    def start(config: DistillConfig = CONFIG, *, seed: int = 0, **options: object):
        network, (images, labels) = make_network(), make_images()
        experts = Recorded(flatten(network), **options)
        problem = TrajectoryMatching(network=network, labels=labels, experts=experts, config=config, seed=seed)
        return problem, problem.begin(images, config.student_lr), experts

    return start
