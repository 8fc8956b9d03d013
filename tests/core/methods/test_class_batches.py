"""Real images by class: which rows, from which stream, and one read for all of them."""

from __future__ import annotations

import pytest
import torch

from ast_ray.core.methods.class_batches import draw_class_rows, gather_classes
from ast_ray.core.rng import stream
from ast_ray.core.selection import rows_by_class
from ast_ray.data.placement import StreamedImages
from ast_ray.data.preprocess import Preprocessing

LABELS = torch.tensor([0, 2, 1, 2, 0, 2, 2, 0, 2, 1])
MEMBERS = rows_by_class(LABELS, 3, 1)  # 3, 2 and 5 images


def _rows(batch: int = 3, iteration: int = 0, seed: int = 0) -> dict[int, torch.Tensor]:
    return draw_class_rows(MEMBERS, batch, seed, "distill", iteration, "real")


def test_rows_are_of_their_class_without_repeats():
    for iteration in range(20):
        rows = _rows(3, iteration)
        assert list(rows) == [0, 1, 2]
        assert [len(own) for own in rows.values()] == [3, 2, 3]
        for label, own in rows.items():
            assert (LABELS[own] == label).all()
            assert len(set(own.tolist())) == len(own)


def test_a_class_with_fewer_images_gives_all_it_has():
    rows = _rows(batch=256)
    for own, members in zip(rows.values(), MEMBERS, strict=True):
        assert sorted(own.tolist()) == members.tolist()


def test_rows_are_those_of_the_named_streams():
    rows = _rows(3, iteration=7, seed=5)
    order = torch.randperm(5, generator=stream(5, "distill", 7, "real", 2))
    assert torch.equal(rows[2], torch.tensor([1, 3, 5, 6, 8])[order[:3]])
    other = draw_class_rows([MEMBERS[2], MEMBERS[1], MEMBERS[2]], 3, 5, "distill", 7, "real")
    assert torch.equal(other[2], rows[2])  # whatever the other classes hold


def test_iterations_seeds_and_roles_draw_anew():
    drawn = [_rows(3), _rows(3, 1), _rows(3, seed=1), draw_class_rows(MEMBERS, 3, 0, "distill", 0, "query", 0)]
    assert len({tuple(rows[2].tolist()) for rows in drawn}) == 4
    assert torch.equal(_rows(3)[2], drawn[0][2])


def test_every_image_of_a_class_is_drawn_equally_often():
    counts = torch.bincount(torch.cat([_rows(2, number)[2] for number in range(1000)]), minlength=10)
    own = counts[MEMBERS[2]].double()  # each is drawn with probability 0.4: variance 240 in 1000 draws
    assert int(own.sum()) == int(counts.sum()) == 2000
    # Two of five without replacement: 4/5 of the sum is chi-square with 4 degrees of freedom, p = 0.001 at 18.47.
    assert 4 / 5 * float(((own - 400) ** 2 / 240).sum()) < 18.47


class _Counting:
    """Images that count how often they are read."""

    def __init__(self, images: torch.Tensor) -> None:
        self._images, self.reads = images, 0
        self.shape, self.device, self.dtype = images.shape, images.device, images.dtype

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: torch.Tensor, /) -> torch.Tensor:
        self.reads += 1
        return self._images[rows]

    def split(self, size: int, /) -> tuple[torch.Tensor, ...]:
        return self._images.split(size)


def test_all_classes_are_read_at_once():
    images = torch.randn(10, 1, 4, 4, generator=stream(0))
    counting, rows = _Counting(images), _rows()
    found = gather_classes(counting, rows)
    assert counting.reads == 1
    assert list(found) == [0, 1, 2]
    for label, own in found.items():
        assert torch.equal(own, images[rows[label]])


@pytest.mark.parametrize("wanted", [(0, 1, 2), (2,), (1, 2)])
def test_streamed_images_are_the_resident_ones(wanted):
    pixels = torch.randint(0, 256, (30, 3, 4, 4), generator=stream(1), dtype=torch.uint8)
    split = torch.randperm(30, generator=stream(2))[:10]
    preprocessing = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    resident = preprocessing(pixels[split])
    streamed = StreamedImages(pixels, split, preprocessing, "cpu")
    rows = {label: own for label, own in _rows().items() if label in wanted}
    ours, theirs = gather_classes(streamed, rows), gather_classes(resident, rows)
    assert list(ours) == list(theirs) == list(wanted)
    for label in wanted:
        assert torch.equal(ours[label], theirs[label])
