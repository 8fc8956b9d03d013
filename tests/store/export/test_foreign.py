"""Images and labels out of other people's files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ast_ray.errors import StoreError
from ast_ray.store.export.foreign import read_images, read_labels

IMAGES, LABELS = torch.arange(24.0).view(2, 1, 3, 4), torch.tensor([1, 0])


def test_every_kind_of_file(tmp_path):
    torch.save(torch.nn.Parameter(IMAGES), tmp_path / "images_best.pt")
    torch.save({"data": IMAGES, "target": LABELS}, tmp_path / "both.pth")
    np.savez(tmp_path / "both.npz", images=IMAGES.numpy(), labels=LABELS.numpy(), note=np.array("text"))
    np.save(tmp_path / "images.npy", IMAGES.numpy())
    save_file({"x": IMAGES, "y": LABELS}, tmp_path / "both.safetensors")
    for name in ("images_best.pt", "both.pth", "both.npz", "images.npy", "both.safetensors"):
        found = read_images(tmp_path / name)
        assert torch.equal(found, IMAGES), name
        assert not found.requires_grad
    for name in ("both.pth", "both.npz", "both.safetensors"):
        assert torch.equal(read_labels(tmp_path / name), LABELS), name


def test_labels_may_be_one_hot_or_floats(tmp_path):
    for labels in (torch.eye(3)[[2, 0]], torch.eye(3)[[2, 0]].bool(), torch.tensor([2.0, 0.0])):
        torch.save(labels, tmp_path / "l.pt")
        assert read_labels(tmp_path / "l.pt").tolist() == [2, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0.9, 0.1]]), "soft labels"),
        (torch.tensor([0.5]), "not whole numbers"),
        (torch.zeros(1, 2, 3), r"labels are \(1, 2, 3\)"),
        (torch.tensor([True, False]), "labels are torch.bool, expected class numbers"),
        (torch.tensor([1 + 2j]), r"labels are torch\.complex64"),
        (torch.tensor([[1 + 2j]]), r"labels are torch\.complex64"),
    ],
)
def test_unusable_labels(tmp_path, labels, message):
    torch.save(labels, tmp_path / "l.pt")
    with pytest.raises(StoreError, match=message):
        read_labels(tmp_path / "l.pt")


def test_what_cannot_be_read_says_why(tmp_path):
    torch.save({"weights": IMAGES}, tmp_path / "a.pt")
    with pytest.raises(StoreError, match=r"no images in it .* it holds weights \(2, 1, 3, 4\)"):
        read_images(tmp_path / "a.pt")
    with pytest.raises(StoreError, match="no such file"):
        read_images(tmp_path / "b.pt")
    with pytest.raises(StoreError, match=r"cannot read \.pkl"):
        read_images(tmp_path / "c.pkl")
