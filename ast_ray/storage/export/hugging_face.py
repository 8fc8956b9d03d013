"""A Hugging Face image dataset: one Parquet file with image, label and exact values, and a dataset card.

``image`` is an 8-bit PNG of the displayable pixels; ``model_space`` holds the exact float32 values, flattened CHW,
which are what is read back; a set with soft labels has them in ``targets``. The schema's metadata carries features,
class names and the description.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import StoreError
from ast_ray.storage.atomic import atomic_path, write_text
from ast_ray.storage.containers.documents import parsed
from ast_ray.storage.containers.parquet_files import FOOTER_KEY, UNSEALED, open_parquet, require_columns, seal_footer
from ast_ray.storage.export.card import dataset_card
from ast_ray.storage.export.common import PREPROCESSING, eight_bit, preprocessing_tensors, read_tensors, write_tensors
from ast_ray.storage.records.manifest import Side
from ast_ray.storage.synthetic import pack, unpack
from ast_ray.storage.typed import checked

SHARD = Path("data") / "train-00000-of-00001.parquet"
_FIELDS = (
    pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    pa.field("label", pa.int64()),
    pa.field("model_space", pa.list_(pa.float32())),
)
_TARGETS = pa.field("targets", pa.list_(pa.float32()))


class _Shape(TypedDict):
    """The part of a description that says how to cut the values into images, and whether there are soft labels."""

    image_shape: list[Side]
    target_loss: NotRequired[str]


def write_hugging_face(synthetic: SyntheticSet, folder: Path) -> None:
    """Write the Parquet file, the card and, under ZCA, the whitening."""
    tensors, description = pack(synthetic)
    values = [_png(image) for image in eight_bit(synthetic)]
    paths = [f"{number:05d}.png" for number in range(len(values))]
    columns = [
        pa.StructArray.from_arrays([pa.array(values, pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"]),
        pa.array(tensors["labels"].numpy(), pa.int64()),
        pa.array(list(tensors["images"].flatten(1).numpy()), pa.list_(pa.float32())),
    ]
    if "targets" in tensors:
        columns.append(pa.array(list(tensors["targets"].numpy()), _TARGETS.type))
    table = pa.table(columns, schema=_schema(synthetic, description))
    with atomic_path(folder / SHARD) as temporary:
        with pq.ParquetWriter(temporary, table.schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({FOOTER_KEY: UNSEALED})
        seal_footer(temporary)
    write_tensors(folder / PREPROCESSING, preprocessing_tensors(tensors))
    write_text(folder / "README.md", dataset_card(synthetic, description))


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def _schema(synthetic: SyntheticSet, description: dict[str, Any]) -> pa.Schema:
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(synthetic.class_names), "_type": "ClassLabel"},
        "model_space": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"},
    }
    fields = [*_FIELDS]
    if synthetic.targets is not None:
        features[_TARGETS.name] = features["model_space"]
        fields.append(_TARGETS)
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "ast_ray": json.dumps(description),
    }
    return pa.schema(fields, metadata=metadata)


def read_hugging_face(path: Path) -> SyntheticSet:
    """Read the Parquet file back; the whitening lies beside it or one folder up.

    Raises:
        StoreError: missing, damaged, or another dataset's.
    """
    with open_parquet(path, missing="no synthetic set here") as file:
        found = (file.schema_arrow.metadata or {}).get(b"ast_ray")
        if found is None or "model_space" not in file.schema_arrow.names:
            raise StoreError(f"{path}: a Parquet file, but not a synthetic set of ast-ray")
        description = parsed(found)
        shape = checked(description, _Shape)
        soft = "target_loss" in shape
        require_columns(file, (*_FIELDS, *((_TARGETS,) if soft else ())))
        table = file.read()
        tensors = {
            "images": _floats(table, "model_space").view(table.num_rows, *shape["image_shape"]),
            "labels": torch.tensor(table.column("label").to_pylist(), dtype=torch.int64),
        }
        if soft:
            tensors["targets"] = _floats(table, _TARGETS.name).view(table.num_rows, -1)
    for folder in (path.parent, path.parent.parent):
        tensors |= read_tensors(folder / PREPROCESSING)
    return unpack(path, tensors, description)


def _floats(table: pa.Table, name: str) -> torch.Tensor:
    """The numbers of a column of lists, one after the other, as a tensor of its own."""
    flat = table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(flat.copy())
