"""Images and labels out of other people's files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ast_ray.errors import StoreError
from ast_ray.storage.export.foreign import read_arrays, read_images, read_labels

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
        assert torch.equal(read_labels(tmp_path / name)[0], LABELS), name


def test_labels_may_be_one_hot_or_floats(tmp_path):
    for labels in (torch.eye(3)[[2, 0]], torch.eye(3)[[2, 0]].bool(), torch.tensor([2.0, 0.0])):
        torch.save(labels, tmp_path / "l.pt")
        found, soft = read_labels(tmp_path / "l.pt")
        assert found.tolist() == [2, 0]
        assert soft is None


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64])
def test_probabilities_are_soft_labels(tmp_path, kind):
    given = torch.tensor([[0.25, 0.75], [0.6, 0.4]]).to(kind)
    torch.save(given, tmp_path / "l.pt")
    found, soft = read_labels(tmp_path / "l.pt")
    assert found.tolist() == [1, 0]
    assert soft is not None
    assert torch.equal(soft, given.float())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0.9, 0.3]]), "soft labels .* no probabilities"),
        (torch.tensor([[1.1, -0.1]]), "soft labels .* no probabilities"),
        (torch.tensor([[float("nan"), 1.0]]), "soft labels .* no probabilities"),
        (torch.tensor([0.5]), "not whole numbers"),
        (torch.zeros(1, 2, 3), r"labels are \(1, 2, 3\)"),
        (torch.tensor([True, False]), "labels are torch.bool, expected class numbers"),
        (torch.tensor([1 + 2j]), "labels are complex64, not numbers"),
        (torch.tensor([[1 + 2j]]), "labels are complex64, not numbers"),
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


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (torch.eye(3).to_sparse(), "images are not a dense tensor"),
        (torch.empty(3, device="meta"), "cannot be read|without values|damaged"),
        (torch.ones(3, dtype=torch.complex64), "images are complex64, not numbers"),
        (torch.ones(3) > 0, "images are torch.bool, expected whole numbers or floats"),
        (torch.tensor(3.0), "images are empty or a single number"),
        (torch.empty(0, 3), "images are empty or a single number"),
    ],
)
def test_odd_tensors_are_refused(tmp_path, value, told):
    torch.save({"images": value}, tmp_path / "x.pt")
    with pytest.raises(StoreError, match=told):
        read_images(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", [torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.float16, torch.bfloat16])
def test_types_that_torch_hardly_computes_with_are_read(tmp_path, kind):
    torch.save({"images": torch.ones(2, 1, 4, 4).to(kind), "labels": torch.tensor([0, 1]).to(kind)}, tmp_path / "x.pt")
    assert float(read_images(tmp_path / "x.pt").max()) == 1
    assert read_labels(tmp_path / "x.pt")[0].tolist() == [0, 1]


@pytest.mark.parametrize("kind", [">f4", ">i8", "<u2", "f8"])
def test_arrays_of_any_byte_order_are_read(tmp_path, kind):
    np.save(tmp_path / "x.npy", np.arange(4, dtype=kind).reshape(2, 2))
    assert read_images(tmp_path / "x.npy").tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".npz", ".npy", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"just text\n", b"\xff" * 40, b"PK\x03\x04" + bytes(40)])
def test_anything_under_any_name_is_one_line_without_unsafe_advice(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        read_arrays(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: damaged")
    assert "\n" not in text
    assert not any(word in text for word in ("weights_only", "allow_pickle", "trust"))
