"""Where D_syn starts: on clouds of features whose clusters and centres are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from ast_ray.core import selection
from ast_ray.core.networks import Network
from ast_ray.core.rng import stream
from ast_ray.core.selection import features_of, initial_images, initial_rows, representative_rows, rows_by_class
from ast_ray.errors import DataError

# A cross around its centre, mirrored so that the centroid is the centre: 1 + 2 + 2 + 2 + 2 points, nearest first.
CROSS = np.array([(0, 0), (0.1, 0), (-0.1, 0), (0, 0.2), (0, -0.2), (0.3, 0), (-0.3, 0), (0, 0.4), (0, -0.4)])


class Identity(Network):
    """Features are the pixels."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.classifier = torch.nn.Linear(2, 2)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def _crosses(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Crosses on a circle of radius 100, shuffled; returns the points and, for each, its place in its cross."""
    angle = 2 * np.pi * np.arange(count) / count
    centres = 100 * np.stack([np.cos(angle), np.sin(angle)], 1)
    points = (centres[:, None] + CROSS[None]).reshape(-1, 2)
    order = torch.randperm(len(points), generator=stream(0, "crosses")).numpy()
    return points[order], order


def test_one_image_per_cluster_is_the_one_at_the_centroid():
    points, order = _crosses(6)
    rows = representative_rows(points, 6, 6, seed=0)
    assert sorted(order[rows].tolist()) == [0, 9, 18, 27, 36, 45]


def test_fifty_are_ten_clusters_with_the_centre_and_its_four_next_nearest():
    points, order = _crosses(10)
    rows = representative_rows(points, 50, 10, seed=0)
    chosen = order[rows]
    assert sorted(chosen.tolist()) == sorted(9 * cross + place for cross in range(10) for place in range(5))
    for first in range(0, 50, 5):  # cluster by cluster, the centre first
        assert chosen[first] % 9 == 0
        assert set(chosen[first : first + 5] // 9) == {chosen[first] // 9}


@pytest.mark.parametrize("sizes", list(itertools.permutations((3, 5, 9))))
def test_the_remainder_goes_to_the_larger_clusters(sizes):
    """Whatever the order in which K-means numbers them: 5 = 1 + 2 + 2, 4 = 1 + 1 + 2."""
    points = np.concatenate([CROSS[:size] + np.array([100 * place, 0]) for place, size in enumerate(sizes)])
    cluster_of = np.repeat(np.arange(3), sizes)
    for count, expected in ((5, {3: 1, 5: 2, 9: 2}), (4, {3: 1, 5: 1, 9: 2})):
        rows = representative_rows(points, count, 3, seed=0)
        assert {size: int((cluster_of[rows] == place).sum()) for place, size in enumerate(sizes)} == expected


def test_a_small_cluster_is_filled_up_with_the_nearest_left_over():
    points = np.concatenate([CROSS, [[100.0, 0.0]]])
    rows = representative_rows(points, 6, 2, seed=0)  # 3 each, but the far cluster has one member
    assert len(set(rows)) == 6
    assert 9 in rows
    assert set(rows) == {0, 1, 2, 3, 4, 9}


def test_every_row_can_be_asked_for():
    points = torch.randn(30, 4, generator=stream(1), dtype=torch.float64).numpy()
    for count, clusters in ((30, 10), (30, 30), (17, 5)):
        rows = representative_rows(points, count, clusters, seed=0)
        assert len(set(rows)) == len(rows) == count


def test_the_same_seed_chooses_the_same_rows():
    points = torch.randn(200, 8, generator=stream(2), dtype=torch.float64).numpy()
    assert representative_rows(points, 10, 10, seed=5) == representative_rows(points, 10, 10, seed=5)


def _images() -> tuple[Tensor, Tensor]:
    """Two classes of six crosses, as images of two channels and one pixel, interleaved."""
    points = torch.from_numpy(_crosses(6)[0])
    images = torch.stack([points, points + 1000], 1).reshape(-1, 2, 1, 1)
    return images, torch.tensor([0, 1]).repeat(len(points))


def test_representative_rows_class_by_class():
    images, labels = _images()
    rows = initial_rows("representative", images, labels, 2, 6, seed=0, network=Identity())
    assert labels[rows].tolist() == [0] * 6 + [1] * 6
    order = _crosses(6)[1]
    assert sorted(order[rows[:6] // 2].tolist()) == [0, 9, 18, 27, 36, 45]
    assert sorted(order[rows[6:] // 2].tolist()) == [0, 9, 18, 27, 36, 45]


@pytest.mark.parametrize(("ipc", "asked", "clusters"), [(1, 0, 1), (10, 0, 10), (12, 0, 10), (50, 0, 10), (12, 3, 3)])
def test_the_rule_for_the_number_of_clusters(monkeypatch, ipc, asked, clusters):
    seen = []

    def record(features: np.ndarray, count: int, clusters: int, seed: int) -> list[int]:
        seen.append((count, clusters))
        return list(range(count))

    monkeypatch.setattr(selection, "representative_rows", record)
    images, labels = _images()
    initial_rows("representative", images, labels, 2, ipc, seed=0, network=Identity(), clusters=asked)
    assert seen == [(ipc, clusters)] * 2


def test_random_rows_are_of_their_class_distinct_and_seeded():
    images, labels = _images()
    rows, again, other = (initial_rows("random-real", images, labels, 2, 20, seed=seed) for seed in (0, 0, 1))
    assert labels[rows].tolist() == [0] * 20 + [1] * 20
    assert len(set(rows.tolist())) == 40
    assert torch.equal(rows, again)
    assert not torch.equal(rows, other)
    assert rows[:20].tolist() != sorted(rows[:20].tolist())
    assert (rows[:20] // 2).tolist() != (rows[20:] // 2).tolist()  # each class draws for itself


def test_images_are_copies_of_the_real_ones():
    images, labels = _images()
    start, start_labels = initial_images("random-real", images, labels, 2, 3, seed=0)
    rows = initial_rows("random-real", images, labels, 2, 3, seed=0)
    assert torch.equal(start, images[rows])
    assert start_labels.tolist() == [0, 0, 0, 1, 1, 1]
    kept = images.clone()
    start.zero_()
    assert torch.equal(images, kept)


def test_noise_is_standard_normal():
    images = torch.zeros(60, 3, 8, 8)
    start, labels = initial_images("noise", images, torch.arange(60) % 2, 2, 10, seed=0)
    assert start.shape == (20, 3, 8, 8)
    assert labels.tolist() == [0] * 10 + [1] * 10
    assert float(start.mean()) == pytest.approx(0, abs=0.05)
    assert float(start.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(start, initial_images("noise", images, torch.arange(60) % 2, 2, 10, seed=0)[0])
    assert not torch.equal(start, initial_images("noise", images, torch.arange(60) % 2, 2, 10, seed=1)[0])


@pytest.mark.parametrize("kind", ["representative", "random-real", "noise"])
def test_a_class_with_too_few_images_is_named(kind):
    labels = torch.tensor([0, 0, 0, 1, 1])
    images = torch.zeros(5, 2, 1, 1)
    with pytest.raises(DataError, match="class 1 has 2 training images, ipc = 3 needs as many"):
        initial_images(kind, images, labels, 2, 3, seed=0, network=Identity())


def test_rows_of_each_class():
    assert [rows.tolist() for rows in rows_by_class(torch.tensor([1, 0, 1, 1]), 2, 1)] == [[1], [0, 2, 3]]
    with pytest.raises(DataError, match="class 2 has 0 training images"):
        rows_by_class(torch.tensor([1, 0]), 3, 1)


def test_representative_needs_a_network():
    images, labels = _images()
    with pytest.raises(ValueError, match="needs a trained expert"):
        initial_rows("representative", images, labels, 2, 1, seed=0)


def test_features_are_those_before_the_linear_layer(make_network, make_images):
    network, images = make_network(), make_images()[0]
    features = features_of(network, images, batch_size=4)
    assert torch.allclose(network.classifier(features), network(images), rtol=1e-12)
    assert not features.requires_grad
