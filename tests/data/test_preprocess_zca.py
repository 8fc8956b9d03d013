"""ZCA: what it makes of the covariance, its inverse, its size on disk, and that it is fitted once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import DataConfig
from ast_ray.core.rng import stream
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.core.zca import Whitening
from ast_ray.data import preprocess
from ast_ray.data.preprocess import ZCA_EPS, Preprocessing, cached_zca, fit_zca
from ast_ray.data.real import load_real_data
from ast_ray.errors import ConfigError
from ast_ray.storage.synthetic import load_synthetic, save_synthetic


def correlated(count: int = 3000, side: int = 6) -> Tensor:
    """Smooth uint8 images: neighbouring pixels agree, so that the covariance has large and small eigenvalues."""
    noise = torch.randn(count, 3, side, side, generator=stream(0, "zca"))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1) * 2 + noise.mean((1, 2, 3), keepdim=True) * 8
    return (smooth * 60 + 128).clamp(0, 255).byte()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return correlated()


@pytest.fixture(scope="module")
def whitening(images: Tensor) -> Whitening:
    return fit_zca(images)


def test_the_whitened_covariance_is_what_eps_implies(images: Tensor, whitening: Whitening):
    """With C = U S U^T, T C T = U diag(S / (S + eps)) U^T."""
    flat = images.flatten(1).double().numpy() / 255
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    expected = (vectors * (values / (values + ZCA_EPS))) @ vectors.T
    whitened = whitening.apply(images.float() / 255).flatten(1).double().numpy()
    assert values.max() > 100 * values.min()
    np.testing.assert_allclose(np.cov(whitened.T), expected, atol=1e-3 * expected.max())
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-5)


def test_it_agrees_with_a_float64_fit(images: Tensor, whitening: Whitening):
    flat = images.flatten(1).double().numpy() / 255
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    matrix = (vectors / np.sqrt(values + ZCA_EPS)) @ vectors.T
    np.testing.assert_allclose(whitening.matrix, matrix, atol=2e-5)


def test_the_round_trip_is_exact(images: Tensor, whitening: Whitening):
    pixels = images[:200].float() / 255
    torch.testing.assert_close(whitening.undo(whitening.apply(pixels)), pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(Preprocessing((), (), whitening)(images[:200]), whitening.apply(pixels))


def test_an_exported_set_carries_what_undoes_it_and_no_more(tmp_path: Path, images: Tensor, whitening: Whitening):
    pixels = images[:10].float() / 255
    labels = torch.arange(10)
    names = tuple(str(number) for number in range(10))
    made = SyntheticSet(whitening.apply(pixels), labels, 0.01, names, whitening=whitening)
    save_synthetic(tmp_path / "synthetic.safetensors", made)
    size = 3 * 6 * 6
    stored = 4 * (size * size + 2 * size + 10 * size)
    assert (tmp_path / "synthetic.safetensors").stat().st_size < stored + 4096
    loaded = load_synthetic(tmp_path)
    torch.testing.assert_close(loaded.pixels(), pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded.to_model_space(pixels), made.images, atol=1e-5, rtol=0)


def test_it_is_fitted_once(tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch):
    first = cached_zca(images, "abc", tmp_path)
    monkeypatch.setattr(preprocess, "fit_zca", lambda *_, **__: pytest.fail("fitted again"))
    second = cached_zca(images, "abc", tmp_path)
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.scale, second.scale)
    (tmp_path / "x").write_text("")
    monkeypatch.undo()
    assert torch.equal(cached_zca(images, "abc", tmp_path / "x").scale, first.scale)


def test_images_too_large_for_it_are_refused(tmp_path: Path, make_picture):
    for index in range(6):
        make_picture(tmp_path / "x" / "ab"[index % 2] / f"{index}.png", size=(65, 65))
    with pytest.raises(ConfigError, match="images of 12675 numbers need a 12675x12675 matrix; at most 12288"):
        load_real_data(DataConfig(source=str(tmp_path / "x"), root=str(tmp_path), image_size=65, preprocess="zca"))


def test_settings_reach_it(tmp_path: Path):
    data = load_real_data(DataConfig(source="digits", root=str(tmp_path), preprocess="zca"))
    assert data.preprocessing.name == "zca"
    assert data.preprocessing.whitening is not None
    variance = data.train_images[torch.arange(len(data.train_images))].flatten(1).var(0)
    assert float(variance.max()) < 1.0
    assert data.data_id == load_real_data(DataConfig(source="digits", root=str(tmp_path))).data_id
