"""The result as a dataset, and from model space to pixels and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ast_ray.core.rng import stream
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.core.zca import Whitening
from ast_ray.errors import DataError

MEAN, STD = (0.5, 0.25), (0.2, 0.5)


def _set(images: torch.Tensor, **options: object) -> SyntheticSet:
    return SyntheticSet(
        images=images,
        labels=torch.tensor([0, 0, 1, 1]),
        student_lr=0.01,
        class_names=("cat", "dog"),
        **options,
    )


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(4, 2, 3, 3, generator=stream(0, "pixels"))


@pytest.fixture
def whitening() -> Whitening:
    vectors = torch.linalg.qr(torch.randn(18, 18, generator=stream(1, "whitening"))).Q
    return Whitening(torch.full((18,), 0.5), vectors, torch.linspace(0.3, 3, 18))


def test_standard_space_by_hand(pixels):
    result = _set(pixels, mean=MEAN, std=STD).to_model_space(pixels)
    for channel in range(2):
        expected = (pixels[:, channel].numpy() - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(result[:, channel], expected, rtol=1e-6, atol=1e-7)


def test_standard_round_trip(pixels):
    empty = _set(pixels, mean=MEAN, std=STD)
    assert torch.allclose(_set(empty.to_model_space(pixels), mean=MEAN, std=STD).pixels(), pixels, atol=1e-6)


def test_whitened_round_trip(pixels, whitening):
    model_space = _set(pixels, whitening=whitening).to_model_space(pixels)
    flat, vectors = pixels.flatten(1).numpy(), whitening.vectors.numpy()
    matrix = vectors @ np.diag(1 / whitening.scale.numpy()) @ vectors.T
    np.testing.assert_allclose(model_space.flatten(1), (flat - 0.5) @ matrix, rtol=1e-4, atol=1e-5)
    assert torch.allclose(_set(model_space, whitening=whitening).pixels(), pixels, atol=1e-5)


def test_pixels_are_clipped_to_what_can_be_shown():
    shown = _set(torch.tensor([-9.0, 0.0, 0.5, 9.0]).view(4, 1, 1, 1)).pixels()
    assert shown.flatten().tolist() == [0.0, 0.0, 0.5, 1.0]


def test_whitened_pixels_are_clipped_as_well(pixels, whitening):
    shown = _set(100 * (pixels - 0.5), whitening=whitening).pixels()
    assert (float(shown.min()), float(shown.max())) == (0.0, 1.0)


def test_it_is_a_torch_dataset(pixels):
    data = _set(pixels)
    assert (len(data), data.ipc) == (4, 2)
    image, label = data[2]
    assert torch.equal(image, pixels[2])
    assert label == 1
    ((images, labels),) = DataLoader(data, batch_size=4, generator=stream(0))
    assert torch.equal(images, pixels)
    assert labels.tolist() == [0, 0, 1, 1]
    assert [label for _, label in data] == [0, 0, 1, 1]


def test_soft_labels_beside_hard_ones(pixels):
    rows = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.0, 1.0]])
    data = _set(pixels, targets=rows)
    assert data.target_loss == "ce"
    assert [label for _, label in data] == [0, 0, 1, 1]
    assert _set(pixels).targets is None
    assert _set(pixels, targets=rows - 0.5, target_loss="mse").targets is not None


@pytest.mark.parametrize(
    ("targets", "loss", "told"),
    [
        (torch.full((4, 3), 1 / 3), "ce", r"targets are \[4, 3\], expected \[4, 2\]"),
        (torch.full((3, 2), 0.5), "mse", r"targets are \[3, 2\], expected \[4, 2\]"),
        (torch.ones(4, 2, dtype=torch.int64), "mse", "torch.int64, expected floats"),
        (torch.tensor([[1.0, float("inf")]] * 4), "mse", "not finite"),
        (torch.tensor([[0.5, 0.4]] * 4), "ce", "no probabilities"),
        (torch.tensor([[1.5, -0.5]] * 4), "ce", "no probabilities"),
        (torch.full((4, 2), 0.5), "kl", "target_loss is 'kl'"),
    ],
)
def test_soft_labels_that_do_not_fit_are_refused(pixels, targets, loss, told):
    with pytest.raises(DataError, match=told):
        _set(pixels, targets=targets, target_loss=loss)
