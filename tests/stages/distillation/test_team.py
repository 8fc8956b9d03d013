from __future__ import annotations

import pytest
import torch

from ast_ray.core.methods.base import Gradients
from ast_ray.stages.distillation.team import ALONE, pack, unpack


def test_a_gradient_travels_without_losing_a_bit() -> None:
    images = torch.randn(6, 3, 4, 4)
    learned = {"images": images, "student_lr": torch.tensor(-3e-9)}
    result = Gradients(torch.tensor(1.5), learned, (torch.tensor(0.1), torch.tensor(1.4)))
    packed = pack(result)
    assert packed.shape == (1 + 2 + images.numel() + 1,)
    found = unpack(packed, result)
    assert torch.equal(found.learned["images"], images)
    assert found.parts == result.parts
    assert (found.loss, found.learned["student_lr"]) == (result.loss, learned["student_lr"])


@pytest.mark.parametrize("value", [None, {"a": torch.zeros(2)}])
def test_alone_there_is_nothing_to_share(value: object) -> None:
    assert ALONE.share(value) is value
    assert (ALONE.rank, ALONE.size) == (0, 1)
