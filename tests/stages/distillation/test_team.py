from __future__ import annotations

import pytest
import torch

from ast_ray.core.bilevel.hypergradient import Hypergradient
from ast_ray.stages.distillation.team import ALONE, pack, unpack


def test_a_gradient_travels_without_losing_a_bit() -> None:
    images = torch.randn(6, 3, 4, 4)
    result = Hypergradient(torch.tensor(1.5), (torch.tensor(0.1), torch.tensor(1.4)), images, torch.tensor(-3e-9))
    packed = pack(result)
    assert packed.shape == (2 + 2 + images.numel(),)
    found = unpack(packed, 2, images.shape)
    assert torch.equal(found.images, images)
    assert found.parts == result.parts
    assert (found.loss, found.alpha) == (result.loss, result.alpha)


@pytest.mark.parametrize("value", [None, {"a": torch.zeros(2)}])
def test_alone_there_is_nothing_to_share(value: object) -> None:
    assert ALONE.share(value) is value
    assert (ALONE.rank, ALONE.size) == (0, 1)
