"""No test of the method may move a global random state: every draw comes from a stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _global_random_state_is_untouched() -> Iterator[None]:
    torch_before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    yield
    assert torch.equal(torch.get_rng_state(), torch_before), "the global torch generator was used"
    assert np.array_equal(np.random.get_state()[1], numpy_before), "the global numpy generator was used"
