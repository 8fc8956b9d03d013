"""Parquet in the Hugging Face image layout: folders, single files, class names, and damaged shards."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ast_ray.config.settings import DataConfig
from ast_ray.data.real import load_dataset
from ast_ray.data.sources import DecodedDataset
from ast_ray.errors import ConfigError, DataError


def png(value: int, side: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(
    path: Path,
    values: Sequence[int | bytes | None],
    labels: Sequence[object],
    *,
    metadata: dict[str, str] | None = None,
    image: str = "image",
    label: str = "label",
    rows: int = 3,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    blobs = [png(value) if isinstance(value, int) else value for value in values]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": blob, "path": None} for blob in blobs], kind)
    table = pa.table({image: column, label: pa.array(labels)}).replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=rows)


def load(source: Path, root: Path, **options: object) -> DecodedDataset:
    return load_dataset(DataConfig(source=str(source), root=str(root / "cache"), **options))[1]


NAMES = {"class_names": json.dumps(["ant", "bee"])}


def test_shards_row_groups_and_order(tmp_path: Path):
    write(tmp_path / "p/train-00001-of-00002.parquet", [50, 60], [0, 1], metadata=NAMES)
    write(tmp_path / "p/train-00000-of-00002.parquet", [10, 20, 30, 40, 45], [0, 1, 0, 1, 1], rows=2)
    write(tmp_path / "p/test-00000.parquet", [70, 80], [1, 0])
    dataset = load(tmp_path / "p", tmp_path)
    assert dataset.train_images[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 45, 50, 60]
    assert dataset.train_labels.tolist() == [0, 1, 0, 1, 1, 0, 1]
    assert dataset.test_images[:, 2, 3, 3].tolist() == [70, 80]
    assert dataset.class_names == ("ant", "bee")


def test_hub_layout_with_its_own_names(tmp_path: Path):
    features = {"info": {"features": {"fine_label": {"names": ["x", "y"]}}}}
    options = {"image": "img", "label": "fine_label", "metadata": {"huggingface": json.dumps(features)}}
    write(tmp_path / "h/data/train-0.parquet", [1, 2], [1, 0], **options)
    write(tmp_path / "h/data/validation-0.parquet", [3, 4], [0, 1], **options)
    dataset = load(tmp_path / "h", tmp_path)
    assert dataset.class_names == ("x", "y")
    assert (dataset.train_labels.tolist(), dataset.test_labels.tolist()) == ([1, 0], [0, 1])


def test_one_file_with_names_as_labels_is_split(tmp_path: Path):
    write(tmp_path / "one.parquet", list(range(10)), ["dog", "cat"] * 5)
    dataset = load(tmp_path / "one.parquet", tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.test_labels.bincount().tolist() == [1, 1]
    pairs = zip(dataset.train_images[:, 0, 0, 0].tolist(), dataset.train_labels.tolist(), strict=True)
    assert all((value + 1) % 2 == label for value, label in pairs)


def test_same_pixels_from_another_container_have_the_same_id(tmp_path: Path, make_picture):
    for split, base in (("train", 0), ("test", 100)):
        values = [base + index for index in range(6)]
        write(tmp_path / f"p/{split}.parquet", values, [0, 0, 0, 1, 1, 1], metadata=NAMES)
        for index, value in enumerate(values):
            name = ("ant", "bee")[index // 3]
            make_picture(tmp_path / "f" / split / name / f"{index}.png", size=(4, 4), color=(value,) * 3)
    assert load(tmp_path / "p", tmp_path).content_id() == load(tmp_path / "f", tmp_path).content_id()


def test_rows_without_label_or_image_are_named_and_can_be_skipped(tmp_path: Path):
    write(tmp_path / "p/train.parquet", [1, None, 3, 4, b"broken"], [0, 1, None, 1, 0], metadata=NAMES)
    write(tmp_path / "p/test.parquet", [1, 2], [0, 1])
    with pytest.raises(DataError, match=r"1 image,.*row group 0, row 2 \(label None\)"):
        load(tmp_path / "p", tmp_path)
    dataset = load(tmp_path / "p", tmp_path, skip_corrupt=True)
    assert dataset.train_images[:, 0, 0, 0].tolist() == [1, 4]
    (warning,) = dataset.warnings
    assert "without 3 images" in warning
    assert "row group 0, row 1 (neither bytes nor path)" in warning
    assert "row group 1, row 1 (not an image of a known format)" in warning


def test_images_beside_the_file_are_read_by_path(tmp_path: Path, make_picture):
    make_picture(tmp_path / "p/images/a.png", size=(4, 4), color=(9, 9, 9))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": None, "path": "images/a.png"}] * 6, kind)
    pq.write_table(pa.table({"image": column, "label": [0, 1] * 3}), tmp_path / "p/all.parquet")
    assert load(tmp_path / "p", tmp_path).train_images.unique().tolist() == [9]


@pytest.mark.parametrize("kind", ["absolute", "parent", "hidden parent", "link", "nul"])
def test_a_path_out_of_the_folder_is_not_read(tmp_path: Path, make_picture, kind: str):
    secret = make_picture(tmp_path / "secret.png", size=(4, 4), color=(9, 9, 9))
    make_picture(tmp_path / "p/images/a.png", size=(4, 4), color=(1, 1, 1))
    (tmp_path / "p/link.png").symlink_to(secret)
    path = {
        "absolute": str(secret),
        "parent": "../secret.png",
        "hidden parent": "images/../../secret.png",
        "link": "link.png",
        "nul": "a\0.png",
    }[kind]
    column = pa.array(
        [{"bytes": None, "path": name} for name in ("images/a.png", "images/a.png", path)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(pa.table({"image": column, "label": [0, 1, 0]}), tmp_path / "p/train.parquet")
    write(tmp_path / "p/test.parquet", [1, 2], [0, 1])
    with pytest.raises(DataError, match="1 image,") as refused:
        load(tmp_path / "p", tmp_path)
    assert ("null" if kind == "nul" else "leads out of the folder of the data set") in str(refused.value)
    dataset = load(tmp_path / "p", tmp_path, skip_corrupt=True)
    assert dataset.train_images.unique().tolist() == [1]


def test_a_subset_of_shards_is_refused(tmp_path: Path):
    write(tmp_path / "p/train.parquet", [1, 2, 3, 4], [0, 1, 0, 1])
    for source in (tmp_path / "p", tmp_path / "p/train.parquet"):
        with pytest.raises(ConfigError, match=r"data\.subset = 'nette': .*has no subsets"):
            load(source, tmp_path, subset="nette")


def test_labels_out_of_range_are_an_error(tmp_path: Path):
    write(tmp_path / "p/train.parquet", [1, 2, 3], [0, 1, 7], metadata=NAMES)
    write(tmp_path / "p/test.parquet", [1, 2], [0, 1])
    with pytest.raises(DataError, match=r"1 train label out of range 0..1; first: image 2 has label 7"):
        load(tmp_path / "p", tmp_path)


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path):
    write(tmp_path / "only/test.parquet", [1], [0])
    with pytest.raises(DataError, match=r"no train\*.parquet beside test.parquet"):
        load(tmp_path / "only", tmp_path)
    write(tmp_path / "p/train.parquet", [1], [0], label="category")
    with pytest.raises(DataError, match=r"no column 'label' \(columns: image, category\)"):
        load(tmp_path / "p", tmp_path)
    whole = (tmp_path / "p/train.parquet").read_bytes()
    (tmp_path / "p/train.parquet").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"train\.parquet: damaged"):
        load(tmp_path / "p", tmp_path)
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}), tmp_path / "p/train.parquet")
    with pytest.raises(DataError, match=r"column 'image' is binary, expected struct"):
        load(tmp_path / "p", tmp_path)


@pytest.mark.parametrize("name", ["a", "ant"])
def test_two_classes_of_one_name_are_refused(tmp_path: Path, name: str):
    write(tmp_path / "p.parquet", [10, 20, 30, 40], [0, 1, 0, 1], metadata={"class_names": json.dumps([name, name])})
    with pytest.raises(DataError, match=f"1 pair of duplicate classes: '{name}' and '{name}'"):
        load(tmp_path / "p.parquet", tmp_path)


def test_rows_without_any_label_are_refused(tmp_path: Path):
    write(tmp_path / "p.parquet", [10, 20], pa.array([None, None], pa.int64()))
    with pytest.raises(DataError, match=r"p\.parquet: no image has a label"):
        load(tmp_path / "p.parquet", tmp_path, skip_corrupt=True)
