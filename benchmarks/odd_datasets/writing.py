"""Files as users have them: class folders of pictures and Parquet shards; a digest and a description of any set."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.odd_datasets.drawing import Array, to_bytes

Picture = Image.Image | bytes
_SPLITS = ("train", "test")
_CLASS_NAMES = b"class_names"


def pictures(images: Array) -> list[Picture]:
    """Return floats [n, H, W] or [n, H, W, 3 or 4] in [0, 1], or uint8, as pictures."""
    pixels = images if images.dtype == np.uint8 else to_bytes(images)
    return [Image.fromarray(image) for image in pixels]


def write_folder(folder: Path, shown: Iterable[Picture], classes: Iterable[str], *, suffix: str = "png") -> None:
    """Write ``folder/<class>/<number>.<suffix>``; pictures that are bytes already are written as they are."""
    for number, (picture, name) in enumerate(zip(shown, classes, strict=True)):
        path = folder / name / f"{number:05d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture.save(path)


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an archive of arrays by name."""
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # its keyword allow_pickle is no array


def write_parquet(path: Path, shown: Iterable[Picture], labels: Sequence[str]) -> None:
    """Write one shard in the Hugging Face image layout, labels as names."""
    rows = []
    for number, picture in enumerate(shown):
        if isinstance(picture, bytes):
            content = picture
        else:
            file = io.BytesIO()
            picture.save(file, format="PNG")
            content = file.getvalue()
        rows.append({"bytes": content, "path": f"{number:05d}.png"})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(rows, kind), "label": list(labels)}), path)


def digest(folder: Path) -> str:
    """Hash of the names and bytes of all files in a folder, and of its empty folders."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0")
        if path.is_file():
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


@dataclass(frozen=True)
class Facts:
    """Classes, number of images, their sizes in words, and the container of a set."""

    classes: int
    images: int
    size: str
    container: str


def described(source: Path) -> Facts:
    """Count what a written set holds; files that are no pictures count as images."""
    if source.suffix == ".npz":
        with np.load(source) as archive:
            labels = np.concatenate([archive[name] for name in archive.files if name.startswith("y")])
            pixels = next(archive[name] for name in archive.files if name.startswith("x"))
        first = 2 if pixels.ndim == 4 and pixels.shape[1] <= 4 else 1  # channels first or last
        shown = _sizes([pixels.shape[first : first + 2]])
        return Facts(len(np.unique(labels)), len(labels), shown, f"npz, {pixels.dtype}")
    if shards := sorted(source.glob("*.parquet")):
        table = pa.concat_tables(pq.read_table(shard) for shard in shards)
        sizes = [size for row in table["image"].to_pylist() if (size := _size(row["bytes"]))]
        return Facts(len(table["label"].unique()), table.num_rows, _sizes(sizes), "Parquet")
    top = [source / name for name in _SPLITS if (source / name).is_dir()] if (source / "test").is_dir() else [source]
    folders = {path.name for place in top for path in place.iterdir()}
    files = [path for place in top for path in sorted(place.glob("*/*"))]
    suffixes = sorted({path.suffix.removeprefix(".").upper() for path in files})
    sizes = [size for path in files if (size := _size(path))]
    return Facts(len(folders), len(files), _sizes(sizes), " and ".join(suffixes))


def _size(content: Path | bytes) -> tuple[int, int] | None:
    """Height and width from a picture's header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as picture:
                return picture.height, picture.width
        except OSError:
            return None


def _sizes(sizes: Iterable[tuple[int, ...]]) -> str:
    """``8 px``, ``20x30`` or ``20x30 to 90x60``: the smallest and the largest by area, as width x height."""
    ordered = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
    if not ordered:
        return "none"
    ends = dict.fromkeys((ordered[0], ordered[-1]))
    return " to ".join(f"{w} px" if h == w else f"{w}x{h}" for h, w in ends)


def cifar10_rows(folder: Path, per_class: int, classes: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """Return the PNG bytes and class names of the first ``per_class`` CIFAR-10 training images of some classes."""
    shard = sorted(folder.glob("train-*.parquet"))[0]
    table = pq.read_table(shard)
    names = json.loads((table.schema.metadata or {})[_CLASS_NAMES])
    left = dict.fromkeys(classes, per_class)
    found, labels = [], []
    for image, label in zip(table["image"], table["label"].to_pylist(), strict=True):
        if left.get(names[label], 0):
            left[names[label]] -= 1
            found.append(image["bytes"].as_py())
            labels.append(names[label])
    return found, labels
