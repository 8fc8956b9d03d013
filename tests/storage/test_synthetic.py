from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.core.zca import Whitening
from ast_ray.errors import StoreError
from ast_ray.storage.checkpoint import Checkpoint, write_checkpoint
from ast_ray.storage.checksum import sealed
from ast_ray.storage.synthetic import load_synthetic, pack, save_synthetic


def example(*, whitened: bool = False) -> SyntheticSet:
    generator = torch.Generator().manual_seed(0)
    size = 2 * 3 * 3
    whitening = None
    if whitened:
        vectors = torch.linalg.qr(torch.randn(size, size, generator=generator)).Q
        whitening = Whitening(torch.rand(size, generator=generator), vectors, torch.linspace(0.3, 3, size))
    return SyntheticSet(
        images=torch.randn(4, 2, 3, 3, generator=generator),
        labels=torch.tensor([0, 0, 1, 1]),
        student_lr=0.1 + 0.2,
        class_names=("cat", "Käse"),
        augmentation="crop_flip",
        siamese=True,
        mean=(0.5, 0.25),
        std=(0.1, 0.3),
        whitening=whitening,
        provenance={"method": "ast", "iteration": 7},
    )


@pytest.mark.parametrize("whitened", [False, True])
def test_round_trip(tmp_path: Path, whitened: bool) -> None:
    original = example(whitened=whitened)
    save_synthetic(tmp_path / "synthetic.safetensors", original)
    found = load_synthetic(tmp_path / "synthetic.safetensors")
    for item in dataclasses.fields(SyntheticSet):
        before, after = getattr(original, item.name), getattr(found, item.name)
        if item.name in ("images", "labels"):
            assert torch.equal(before, after)
            assert before.dtype == after.dtype
        elif item.name == "whitening" and whitened:
            assert all(
                torch.equal(getattr(before, part), getattr(after, part)) for part in ("mean", "vectors", "scale")
            )
        else:
            assert before == after, item.name
    assert torch.equal(found.pixels(), original.pixels())


def test_a_whitened_set_goes_back_to_pixels_after_loading(tmp_path: Path) -> None:
    pixels = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    blank = example(whitened=True)
    save_synthetic(tmp_path / "s.safetensors", dataclasses.replace(blank, images=blank.to_model_space(pixels)))
    torch.testing.assert_close(load_synthetic(tmp_path / "s.safetensors").pixels(), pixels, atol=1e-4, rtol=0)


def test_a_folder_stands_for_the_set_in_it(tmp_path: Path) -> None:
    save_synthetic(tmp_path / "synthetic.safetensors", example())
    assert load_synthetic(str(tmp_path)).class_names == ("cat", "Käse")


def test_the_description_stands_beside_it_for_people(tmp_path: Path) -> None:
    save_synthetic(tmp_path / "synthetic.safetensors", example(whitened=True))
    described = json.loads((tmp_path / "synthetic.json").read_text(encoding="utf-8"))
    assert described["ipc"] == 2
    assert described["image_shape"] == [2, 3, 3]
    assert described["student_lr"] == 0.1 + 0.2
    assert described["preprocess"] == "zca"
    assert described["class_names"] == ["cat", "Käse"]


def test_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_synthetic(tmp_path / f"{name}.safetensors", example(whitened=True))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no synthetic set here"):
        load_synthetic(tmp_path)
    with pytest.raises(StoreError, match="no synthetic set here"):
        load_synthetic(tmp_path / "none.safetensors")


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(trace), "w")

    (tmp_path / "synthetic.safetensors").write_bytes(pickle.dumps(Bomb()))
    torch.save({"images": torch.zeros(1)}, tmp_path / "zipped.safetensors")
    for name in ("synthetic", "zipped"):
        with pytest.raises(StoreError, match="damaged"):
            load_synthetic(tmp_path / f"{name}.safetensors")
    assert not trace.exists()


def test_other_safetensors_are_no_synthetic_set(tmp_path: Path) -> None:
    save_file({"images": torch.zeros(1)}, tmp_path / "plain.safetensors")
    save_file({"images": torch.zeros(1)}, tmp_path / "odd.safetensors", {"description": "not json"})
    write_checkpoint(tmp_path / "checkpoint.safetensors", Checkpoint("abc", {"images": torch.zeros(1)}, {}))
    for name in ("plain", "odd", "checkpoint"):
        with pytest.raises(StoreError, match="not a synthetic set of ast-ray"):
            load_synthetic(tmp_path / f"{name}.safetensors")


def test_a_truncated_set(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_synthetic(path, example())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="damaged"):
        load_synthetic(path)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_set_whose_labels_name_no_class_is_refused(tmp_path: Path, label: int) -> None:
    path = tmp_path / "synthetic.safetensors"
    tensors, description = pack(example())
    tensors["labels"][3] = label
    description = sealed(tensors, description)  # not damaged: somebody made it so
    save_file(tensors, path, {"description": json.dumps(description)})
    with pytest.raises(StoreError, match=rf"1 label out of range 0\.\.1; first: {label}"):
        load_synthetic(path)


def soft(loss: str = "mse") -> SyntheticSet:
    targets = torch.tensor([[0.1, -0.3], [1.2, 0.4], [0.0, 0.7], [0.3, 0.2]])
    return dataclasses.replace(
        example(whitened=True), targets=targets.softmax(1) if loss == "ce" else targets, target_loss=loss
    )


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_soft_labels_come_back_and_give_the_same_bytes_again(tmp_path: Path, loss: str) -> None:
    wanted = soft(loss)
    save_synthetic(tmp_path / "a.safetensors", wanted)
    found = load_synthetic(tmp_path / "a.safetensors")
    assert wanted.targets is not None
    assert found.targets is not None
    assert torch.equal(found.targets, wanted.targets)
    assert (found.target_loss, found.targets.dtype) == (loss, torch.float32)
    assert found.labels.tolist() == [0, 0, 1, 1]
    save_synthetic(tmp_path / "b.safetensors", found)
    for suffix in ("safetensors", "json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_only_a_set_with_soft_labels_is_of_the_second_format() -> None:
    tensors, description = pack(example())
    assert description["format"] == "ast-ray synthetic set 1"
    assert "target_loss" not in description
    assert set(tensors) == {"images", "labels"}
    tensors, description = pack(soft())
    assert (description["format"], description["target_loss"]) == ("ast-ray synthetic set 2", "mse")
    assert "targets" in tensors


@pytest.mark.parametrize(
    ("tensors", "text", "told"),
    [
        ({"targets": None}, {}, "targets"),
        ({"targets": torch.zeros(4, 3)}, {}, "targets"),
        ({"targets": torch.zeros(4, 2, dtype=torch.float64)}, {}, "targets"),
        ({"targets": torch.full((4, 2), float("nan"))}, {}, "not finite"),
        ({}, {"target_loss": "ce"}, "no probabilities"),
        ({}, {"target_loss": "kl"}, "target_loss"),
        ({}, {"format": "ast-ray synthetic set 1"}, "with soft labels"),
        ({}, {"target_loss": None}, "without soft labels"),
    ],
)
def test_soft_labels_that_cannot_be_used_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor | None], text: dict[str, str | None], told: str
) -> None:
    """Each is sealed again, so that it is not the checksum that says so."""
    packed, description = pack(soft())
    whole = {name: value for name, value in (packed | tensors).items() if value is not None}
    changed = {name: value for name, value in (description | text).items() if value is not None}
    save_file(whole, tmp_path / "s.safetensors", {"description": json.dumps(sealed(whole, changed))})
    with pytest.raises(StoreError, match=told):
        load_synthetic(tmp_path / "s.safetensors")


def test_a_changed_soft_label_is_damage(tmp_path: Path) -> None:
    packed, description = pack(soft())
    packed["targets"][0, 0] += 1
    save_file(packed, tmp_path / "s.safetensors", {"description": json.dumps(description)})
    with pytest.raises(StoreError, match="its checksum is wrong"):
        load_synthetic(tmp_path / "s.safetensors")
