"""Each operation against explicit loops in numpy; draws against their ranges and frequencies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from PIL import Image, ImageOps

from ast_ray.core.augmentation import NO_AUGMENTATION, Draw, apply, draw, operations, repeated, sample_by_gathering
from ast_ray.core.rng import stream

ALL = ("color", "crop", "cutout", "flip", "scale", "rotate")
HEIGHT, WIDTH = 8, 12


def _images(batch: int = 3, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=stream(0, "test", "augmentation"), dtype=torch.float64)


def _apply(x: torch.Tensor, operation: str, *values: list[float]) -> np.ndarray:
    return apply(x, Draw(operation, tuple(torch.tensor(value, dtype=torch.float64) for value in values))).numpy()


def _shift(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Pixel (i, j) shows (i + down, j + right) of the image, zero outside."""
    result = np.zeros_like(image)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            if 0 <= i + down < image.shape[1] and 0 <= j + right < image.shape[2]:
                result[:, i, j] = image[:, i + down, j + right]
    return result


def _bilinear(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Sample at matrix @ (x, y), corners at -1 and 1, zero outside: one pixel and one neighbour at a time."""
    _, height, width = image.shape
    result = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            x, y = matrix @ np.array([-1 + 2 * j / (width - 1), -1 + 2 * i / (height - 1)])
            column, row = (x + 1) / 2 * (width - 1), (y + 1) / 2 * (height - 1)
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < height and 0 <= c < width:
                        result[:, i, j] += (1 - abs(row - r)) * (1 - abs(column - c)) * image[:, r, c]
    return result


def test_crop_shifts_each_image_with_zero_padding():
    x = _images()
    ours = _apply(x, "crop", [1, -1, 0], [-2, 0, 2])
    for index, (down, right) in enumerate([(1, -2), (-1, 0), (0, 2)]):
        np.testing.assert_array_equal(ours[index], _shift(x[index].numpy(), down, right))


def test_flip_mirrors_below_one_half_like_pillow():
    pixels = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=stream(1)).double()
    ours = _apply(pixels, "flip", [0.49, 0.5])
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).numpy().astype(np.uint8))
    np.testing.assert_array_equal(ours[0].transpose(1, 2, 0), np.asarray(ImageOps.mirror(picture)))
    np.testing.assert_array_equal(ours[1], pixels[1].numpy())


@pytest.mark.parametrize(("row", "column"), [(0, 0), (4, 6), (8, 12), (0, 11), (3, 1)])
def test_cutout_zeroes_a_square_clipped_at_the_border(row, column):
    x = _images(1)
    expected = x[0].numpy().copy()
    for i in range(HEIGHT):
        for j in range(WIDTH):
            if row - 2 <= i < row + 2 and column - 3 <= j < column + 3:  # half of each side: 4 x 6
                expected[:, i, j] = 0
    np.testing.assert_array_equal(_apply(x, "cutout", [row], [column])[0], expected)


def test_cutout_of_an_odd_side():
    x = torch.ones(1, 1, 10, 10, dtype=torch.float64)  # int(0.5 * 10 + 0.5) = 5: two before the centre, two after
    hole = _apply(x, "cutout", [4], [0])[0, 0] == 0
    assert np.flatnonzero(hole.any(1)).tolist() == [2, 3, 4, 5, 6]
    assert np.flatnonzero(hole.any(0)).tolist() == [0, 1, 2]


def test_scale_samples_by_the_reciprocal_zoom():
    x = _images()
    across, down = [1.2, 1 / 1.2, 0.9], [0.85, 1.1, 1.0]
    ours = _apply(x, "scale", across, down)
    for index in range(3):
        expected = _bilinear(x[index].numpy(), np.diag([across[index], down[index]]))
        np.testing.assert_allclose(ours[index], expected, atol=1e-12)


def test_rotate_samples_bilinearly_with_zero_padding():
    x = _images()
    angles = [math.radians(15), math.radians(-7), 0.0]
    ours = _apply(x, "rotate", angles)
    for index, a in enumerate(angles):
        matrix = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        np.testing.assert_allclose(ours[index], _bilinear(x[index].numpy(), matrix), atol=1e-12)
    np.testing.assert_allclose(ours[2], x[2].numpy(), atol=1e-12)


def test_color_is_brightness_then_saturation_then_contrast():
    x = _images()
    brightness, saturation, contrast = [0.3, -0.5, 0.0], [1.7, 0.0, 1.0], [0.5, 1.4, 1.0]
    ours = _apply(x, "color", brightness, saturation, contrast)
    for n in range(3):
        image = x[n].numpy() + brightness[n]
        for i in range(HEIGHT):
            for j in range(WIDTH):
                grey = sum(image[c, i, j] for c in range(3)) / 3
                image[:, i, j] = (image[:, i, j] - grey) * saturation[n] + grey
        mean = image.sum() / image.size
        np.testing.assert_allclose(ours[n], (image - mean) * contrast[n] + mean, atol=1e-12)
    np.testing.assert_allclose(ours[2], x[2].numpy(), atol=1e-12)


def test_no_operation_returns_the_batch_itself():
    x = _images()
    assert draw((), 3, (HEIGHT, WIDTH), stream(0)) is NO_AUGMENTATION
    assert apply(x, NO_AUGMENTATION) is x


@pytest.mark.parametrize("strategy", ["", "none"])
def test_operations_of_nothing(strategy):
    assert operations(strategy) == ()


def test_operations_in_order():
    assert operations("flip_color_crop") == ("flip", "color", "crop")


# Per operation: inclusive range of each value for 10 x 32 images, and how many different values there are.
RANGES = {
    "color": ([(-0.5, 0.5), (0, 2), (0.5, 1.5)], None),
    "crop": ([(-1, 1), (-4, 4)], [3, 9]),  # int(0.125 * side + 0.5)
    "cutout": ([(0, 9), (0, 32)], [10, 33]),  # odd hole of 5: 10 places; even hole of 16: 33
    "flip": ([(0, 1)], None),
    "scale": ([(1 / 1.2, 1.2), (1 / 1.2, 1.2)], None),
    "rotate": ([(-math.pi / 12, math.pi / 12)], None),
}


@pytest.mark.parametrize("name", ALL)
def test_values_fill_their_range_evenly(name):
    ranges, different = RANGES[name]
    values = draw((name,), 6000, (10, 32), stream(3, name)).values
    assert len(values) == len(ranges)
    for index, (value, (low, high)) in enumerate(zip(values, ranges, strict=True)):
        assert value.shape == (6000,)
        assert float(value.min()) >= low - 1e-6
        assert float(value.max()) <= high + 1e-6
        assert float(value.mean()) == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        if different is None:
            assert float(value.max() - value.min()) > 0.99 * (high - low)
            counts = torch.histc(value, 10, low, high)
        else:
            whole = value.long()
            assert torch.equal(whole.to(value), value)
            counts = torch.bincount(whole - low).float()
            assert len(counts) == different[index]
        expected = 6000 / len(counts)
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        freedom = len(counts) - 1
        assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_values_of_one_image_are_independent_of_each_other():
    for name in ("color", "crop", "cutout", "scale"):
        values = torch.stack(draw((name,), 4000, (32, 32), stream(4, name)).values)
        correlation = torch.corrcoef(values) - torch.eye(len(values))
        assert float(correlation.abs().max()) < 0.07


def test_one_operation_per_call_chosen_uniformly():
    generator = stream(5, "operations")
    names = [draw(ALL, 1, (8, 8), generator).operation for _ in range(3000)]
    counts = [names.count(name) for name in ALL]
    assert sum((count - 500) ** 2 / 500 for count in counts) < 20.5  # chi-square, 5 degrees of freedom, p = 0.001


@pytest.mark.parametrize("name", ALL)
def test_siamese_shares_one_draw_over_the_batch(name):
    shared = draw((name,), 8, (32, 32), stream(6), siamese=True)
    assert all(len(value) == 8 and len(set(value.tolist())) == 1 for value in shared.values)
    single = draw((name,), 8, (32, 32), stream(6))
    assert all(len(set(value.tolist())) > 1 for value in single.values)


@pytest.mark.parametrize("name", ALL)
def test_a_draw_replays(name):
    x = _images(5)
    chosen = draw((name,), 5, (HEIGHT, WIDTH), stream(7, name))
    again = draw((name,), 5, (HEIGHT, WIDTH), stream(7, name))
    other = draw((name,), 5, (HEIGHT, WIDTH), stream(8, name))
    assert torch.equal(apply(x, chosen), apply(x, chosen))
    assert torch.equal(apply(x, chosen), apply(x, again))
    assert not torch.equal(apply(x, chosen), apply(x, other))


@pytest.mark.parametrize("name", ALL)
def test_images_do_not_see_each_other(name):
    x = _images(4)
    chosen = draw((name,), 4, (HEIGHT, WIDTH), stream(9, name))
    alone = Draw(name, tuple(value[2:3] for value in chosen.values))
    assert torch.allclose(apply(x[2:3], alone), apply(x, chosen)[2:3], atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_gradient_in_the_images(name):
    x = _images(2, 4, 4).requires_grad_()
    chosen = draw((name,), 2, (4, 4), stream(10, name))
    assert torch.autograd.gradcheck(lambda images: apply(images, chosen), x)


@pytest.mark.parametrize("size", [(8, 12), (2, 5), (32, 32)])
def test_sampling_by_gathering_is_grid_sample(size: tuple[int, int]) -> None:
    x = _images(4, *size).requires_grad_()
    angles = torch.tensor([0.0, 0.2, -3.0, 1.0], dtype=torch.float64)
    matrix = torch.stack([torch.stack([1.1 * angles.cos(), -angles.sin(), 0.3 * angles], 1)] * 2, 1)
    matrix[0] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=True)
    ours = sample_by_gathering(x, grid)
    expected = functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    along = torch.randn(ours.shape, generator=stream(3), dtype=torch.float64)
    (back,), (there,) = (torch.autograd.grad(sampled, x, along) for sampled in (ours, expected))
    torch.testing.assert_close(back, there, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_one_draw_for_batches_of_different_sizes(name):
    x = _images(1).expand(5, -1, -1, -1).contiguous()  # equal images
    shared = draw((name,), 1, (HEIGHT, WIDTH), stream(11, name), siamese=True)
    few, many = apply(x[:2], repeated(shared, 2)), apply(x, repeated(shared, 5))
    assert repeated(shared, 5).operation == name
    assert all(len(value) == 5 for value in repeated(shared, 5).values)
    alone = apply(x[:1], shared)
    for image in (*few, *many):  # stay equal, across both batches
        torch.testing.assert_close(image, alone[0], rtol=0, atol=1e-14)


def test_a_repeated_draw_of_nothing_is_nothing():
    x = _images()
    assert apply(x, repeated(NO_AUGMENTATION, 3)) is x


def test_only_a_draw_for_one_image_is_repeated():
    with pytest.raises(ValueError, match="one image"):
        repeated(draw(("rotate",), 3, (HEIGHT, WIDTH), stream(0)), 3)
