"""Every container keeps a set exactly, with and without whitening, and says what is wrong with a damaged one."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader

import ast_ray
from ast_ray.core.rng import stream
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data.preprocess import fit_zca
from ast_ray.errors import ConfigError, ResourceError, StoreError
from ast_ray.storage.export import FORMATS, export_set
from ast_ray.storage.synthetic import save_synthetic

CONFIG = {
    "preset": "digits",
    "seed": 3,
    "data": {"source": "digits"},
    "evaluate": {
        "passes": 7,
        "batch_size": 4,
        "momentum": 0.5,
        "weight_decay": 0.0,
        "lr_decay_pass": 3,
        "lr_decay_factor": 0.2,
    },
}


def make_set(*, channels: int = 3, zca: bool = False) -> SyntheticSet:
    """Six 5x4 images of three classes, values beyond the displayable range among them."""
    generator = stream(0, "export", channels)
    images = 2 * torch.randn(6, channels, 5, 4, generator=generator)
    pixels = (torch.rand(40, channels, 5, 4, generator=generator) * 255).to(torch.uint8)
    return SyntheticSet(
        images=images,
        labels=torch.tensor([0, 0, 1, 1, 2, 2]),
        student_lr=0.0123456789,
        class_names=("sea/gull", "ant", "übergröße"),
        augmentation="crop_flip",
        siamese=True,
        mean=(0.0,) * channels if zca else (0.4, 0.5, 0.6)[:channels],
        std=(1.0,) * channels if zca else (0.2, 0.25, 0.3)[:channels],
        whitening=fit_zca(pixels) if zca else None,
        provenance={"method": "ast", "iteration": 12, "config": CONFIG},
    )


def assert_same(found: SyntheticSet, wanted: SyntheticSet) -> None:
    assert torch.equal(found.images, wanted.images)
    assert found.labels.dtype == torch.int64
    assert torch.equal(found.labels, wanted.labels)
    assert torch.equal(found.pixels(), wanted.pixels())
    for name in ("student_lr", "class_names", "augmentation", "siamese", "mean", "std"):
        assert getattr(found, name) == getattr(wanted, name), name
    assert found.provenance["config"] == CONFIG
    pixels = torch.rand(2, *wanted.images.shape[1:], generator=stream(1, "pixels"))
    assert torch.equal(found.to_model_space(pixels), wanted.to_model_space(pixels))


@pytest.mark.parametrize("zca", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("container", FORMATS)
def test_what_is_read_is_what_was_written(tmp_path, container, channels, zca):
    wanted = make_set(channels=channels, zca=zca)
    folder = export_set(wanted, tmp_path / "out", container)
    found = ast_ray.load(folder)
    assert_same(found, wanted)
    assert found.provenance["protocol"] == {"name": "strict", **CONFIG["evaluate"]}
    images, labels = next(iter(DataLoader(found, batch_size=4)))
    assert images.shape == (4, channels, 5, 4)
    assert labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("container", FORMATS)
def test_the_same_set_gives_the_same_bytes(tmp_path, container):
    for name in ("one", "two"):
        export_set(make_set(), tmp_path / name, container)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def make_soft(loss: str = "mse") -> SyntheticSet:
    rows = torch.randn(6, 3, generator=stream(0, "targets"))
    return dataclasses.replace(make_set(zca=True), targets=rows.softmax(1) if loss == "ce" else rows, target_loss=loss)


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("container", FORMATS)
def test_soft_labels_go_along(tmp_path, container, loss):
    wanted = make_soft(loss)
    folders = [export_set(wanted, tmp_path / name, container) for name in ("one", "two")]
    found = ast_ray.load(folders[0])
    assert_same(found, wanted)
    assert found.target_loss == loss
    assert torch.equal(found.targets, wanted.targets)
    assert json.loads((folders[0] / "dataset.json").read_text(encoding="utf-8"))["target_loss"] == loss
    for file in (path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file()):
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), file


@pytest.mark.parametrize("container", FORMATS)
def test_a_set_without_soft_labels_has_no_trace_of_them(tmp_path, container):
    folder = export_set(make_set(), tmp_path / "out", container)
    assert ast_ray.load(folder).targets is None
    for path in folder.rglob("*"):
        assert "target" not in path.name
        assert path.is_dir() or b"target" not in path.read_bytes(), path


def test_each_container_has_soft_labels_where_its_readers_look(tmp_path):
    wanted = make_soft()
    folders = {name: export_set(wanted, tmp_path / name, name) for name in FORMATS}
    table = pq.read_table(folders["hf"] / "data" / "train-00000-of-00001.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["targets"] == {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    assert torch.equal(torch.tensor(table.column("targets").to_pylist()), wanted.targets)
    with np.load(folders["npz"] / "synthetic.npz") as arrays:
        assert np.array_equal(arrays["targets"], wanted.targets.numpy())
    assert torch.equal(torch.load(folders["pt"] / "targets_best.pt", weights_only=True), wanted.targets)
    assert torch.load(folders["pt"] / "labels_best.pt", weights_only=True).tolist() == [0, 0, 1, 1, 2, 2]


def test_soft_labels_outlive_the_exact_pixels_of_a_folder_of_pictures(tmp_path):
    wanted = make_soft()
    folder = export_set(wanted, tmp_path / "set", "png")
    (folder / "model-space.safetensors").unlink()
    assert torch.equal(ast_ray.load(folder).targets, wanted.targets)
    (folder / "targets.safetensors").unlink()
    with pytest.raises(StoreError, match="targets"):
        ast_ray.load(folder)


@pytest.mark.parametrize(
    ("loss", "method", "said"),
    [
        ("mse", "frepo", "soft labels: learned with the images"),
        ("ce", "tesla", "soft labels: probabilities that a trained network assigned"),
        ("ce", "imported", "soft labels: probabilities brought in with the images"),
        (None, "ast", None),
    ],
)
def test_the_card_tells_where_soft_labels_come_from(tmp_path, loss, method, said):
    wanted = make_set() if loss is None else make_soft(loss)
    wanted = dataclasses.replace(wanted, provenance={**wanted.provenance, "method": method})
    row = {"network": "convnet", "protocol": "strict", "mean": 0.9, "std": None, "n": 1}
    reported = [row if loss is None else {**row, "targets": "soft" if loss == "ce" else "hard"}]
    text = (export_set(wanted, tmp_path, "hf", reported=reported) / "README.md").read_text(encoding="utf-8")
    assert (said is not None) == ("soft label" in text)
    assert said is None or said in text
    mark = {"ce": "†", "mse": "‡", None: ""}[loss]
    assert f"| strict{mark} |" in text
    assert (f"{mark} soft labels: the set has them" in text) == bool(mark)


def test_files_load_as_their_folders_do(tmp_path):
    wanted = make_set(zca=True)
    for container, name in {
        "npz": "synthetic.npz",
        "pt": "synthetic.pt",
        "safetensors": "synthetic.safetensors",
        "hf": "data/train-00000-of-00001.parquet",
        "png": "dataset.json",
    }.items():
        folder = export_set(wanted, tmp_path / container, container)
        assert_same(ast_ray.load(folder / name), wanted)


def test_parquet_is_a_hugging_face_image_dataset(tmp_path):
    wanted = make_set()
    folder = export_set(wanted, tmp_path, "hf")
    table = pq.read_table(folder / "data" / "train-00000-of-00001.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"]["names"] == list(wanted.class_names)
    assert table.column("label").to_pylist() == [0, 0, 1, 1, 2, 2]
    blob = table.column("image")[4].as_py()["bytes"]
    with Image.open(io.BytesIO(blob)) as image:
        shown = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    torch.testing.assert_close(shown.float() / 255, wanted.pixels()[4], atol=0.5 / 255 + 1e-6, rtol=0)


def test_the_card_says_how_to_train(tmp_path):
    reported = [{"network": "convnet", "protocol": "strict", "mean": 0.907, "std": 0.016, "n": 5}]
    folder = export_set(make_set(), tmp_path, "hf", reported=reported)
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["configs"][0]["data_files"][0]["path"] == "data/train-*.parquet"
    for said in ("0.0123457", "crop_flip", "one draw per batch", "7 passes", "| convnet | strict | 90.7 ± 1.6 | 5 |"):
        assert said in text


def test_a_wrong_digit_in_the_description_of_pictures_is_noticed(tmp_path: Path) -> None:
    folder = export_set(make_set(), tmp_path / "set", "png")
    (folder / "model-space.safetensors").unlink()
    description = folder / "dataset.json"
    whole = description.read_text()
    assert ast_ray.load(folder).mean == (0.4, 0.5, 0.6)
    description.write_text(whole.replace("0.0123456789", "0.0123456780"))
    assert description.read_text() != whole
    with pytest.raises(StoreError, match=r"dataset\.json: damaged or edited"):
        ast_ray.load(folder)


def test_png_folders_sort_like_labels_and_are_read_when_the_exact_values_are_gone(tmp_path):
    for zca in (False, True):
        wanted = make_set(zca=zca)
        folder = export_set(wanted, tmp_path / str(zca), "png")
        names = sorted(path.name for path in (folder / "images").iterdir())
        assert names == ["0-sea_gull", "1-ant", "2-_bergr_e"]
        (folder / "model-space.safetensors").unlink()
        found = ast_ray.load(folder)
        assert "8-bit" in found.provenance["pixels"]
        assert torch.equal(found.labels, wanted.labels)
        torch.testing.assert_close(found.pixels(), wanted.pixels(), atol=0.51 / 255, rtol=0)


def test_pt_is_what_scripts_expect(tmp_path):
    wanted = make_set()
    folder = export_set(wanted, tmp_path, "pt")
    assert torch.equal(torch.load(folder / "images_best.pt", weights_only=True), wanted.images)
    assert torch.equal(torch.load(folder / "labels_best.pt", weights_only=True), wanted.labels)
    state = torch.load(folder / "synthetic.pt", weights_only=True)
    assert state["student_lr"] == wanted.student_lr
    assert state["class_names"] == list(wanted.class_names)
    assert torch.equal(state["pixels"], wanted.pixels())


def test_npz_is_plain_arrays(tmp_path):
    wanted = make_set()
    with np.load(export_set(wanted, tmp_path, "npz") / "synthetic.npz", allow_pickle=False) as arrays:
        assert float(arrays["student_lr"]) == wanted.student_lr
        assert arrays["class_names"].tolist() == list(wanted.class_names)
        assert np.array_equal(arrays["pixels"], wanted.pixels().numpy())


def test_an_export_replaces_an_export_and_nothing_else(tmp_path):
    target = tmp_path / "out"
    export_set(make_set(), target, "png")
    half = dataclasses.replace(make_set(), images=make_set().images[:3], labels=torch.tensor([0, 1, 2]))
    export_set(half, target, "png")
    assert len(list(target.rglob("*.png"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(StoreError, match="not an export of ast-ray; choose another --out"):
        export_set(make_set(), tmp_path / "mine", "npz")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


def test_bad_requests(tmp_path):
    with pytest.raises(ConfigError, match="unknown format; did you mean 'npz'"):
        export_set(make_set(), tmp_path, "np")
    with pytest.raises(StoreError, match="PNG holds 1 or 3 channels, these images have 2"):
        export_set(make_set(channels=2), tmp_path / "x", "png")
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write in"):
        export_set(make_set(), tmp_path / "file" / "out", "npz")


@pytest.mark.parametrize("name", ["x.npz", "x.pt", "x.parquet", "x.safetensors"])
def test_damaged_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"not at all")
    with pytest.raises(StoreError, match=r"damaged|refused"):
        ast_ray.load(tmp_path / name)
    with pytest.raises(StoreError, match="no synthetic set here"):
        ast_ray.load(tmp_path / "absent")


class Trap:
    """Runs something when unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("trap-was-sprung"),))


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"images": Trap()}, tmp_path / "x.pt")
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Trap()))
    np.save(tmp_path / "z.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "w.npz", description=np.array([Trap()], dtype=object))
    for name in ("x.pt", "y.pt", "w.npz"):
        with pytest.raises(StoreError):
            ast_ray.load(tmp_path / name)
    assert not Path("trap-was-sprung").exists()


def test_a_whitened_set_without_its_whitening_is_refused(tmp_path):
    folder = export_set(make_set(zca=True), tmp_path, "hf")
    (folder / "preprocessing.safetensors").unlink()
    with pytest.raises(StoreError, match="'whitening_mean' is missing"):
        ast_ray.load(folder)


def test_the_canonical_file_loads_as_ever(tmp_path):
    save_synthetic(tmp_path / "synthetic.safetensors", make_set())
    assert_same(ast_ray.load(tmp_path), make_set())


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, -1], [0, 0, 1, 1, 2, 3], [0, 0, 1, 1, 2]])
@pytest.mark.parametrize("container", FORMATS)
def test_labels_that_name_no_class_are_not_exported(tmp_path: Path, container: str, labels: list[int]) -> None:
    wrong = dataclasses.replace(make_set(), labels=torch.tensor(labels))
    with pytest.raises(StoreError, match=r"1 label out of range 0\.\.2|labels are \(5,\) for 6 images"):
        export_set(wrong, tmp_path / "out", container)
    assert list(tmp_path.iterdir()) == []
