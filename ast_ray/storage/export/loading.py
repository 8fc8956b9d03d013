"""Find out what a path is, and read the set from it."""

from __future__ import annotations

from pathlib import Path

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import StoreError
from ast_ray.storage import mirror
from ast_ray.storage.export.arrays import read_npz, read_pt
from ast_ray.storage.export.common import DESCRIPTION, read_description, require_intact
from ast_ray.storage.export.hugging_face import SHARD, read_hugging_face
from ast_ray.storage.export.png import read_png
from ast_ray.storage.synthetic import load_synthetic

_FILES = {"safetensors": "synthetic.safetensors", "npz": "synthetic.npz", "pt": "synthetic.pt", "hf": str(SHARD)}
_SUFFIXES = (".safetensors", ".npz", ".pt", ".parquet", ".json")


def load_set(path: str | Path) -> SyntheticSet:
    """Read a synthetic set from a file, folder or address, in any container this package writes.

    Raises:
        StoreError: missing, damaged, or not a synthetic set.
    """
    file = set_file(path)
    if file is None:
        raise StoreError(f"{path}: no synthetic set here")
    if file.name == DESCRIPTION:
        description = read_description(file.parent)
        if description is None or description["container"] != "png":
            raise StoreError(f"{file}: not the description of a folder of PNG files")
        require_intact(file.parent, description)
        return read_png(file.parent, description)
    readers = {".npz": read_npz, ".pt": read_pt, ".parquet": read_hugging_face}
    return readers.get(file.suffix, load_synthetic)(file)


def set_file(path: str | Path) -> Path | None:
    """The file that holds the set behind a path (for PNG its description), None where there is none."""
    place = mirror.view(path)
    _fetch(place)
    if place.is_file():
        return place
    description = read_description(place) if place.is_dir() else None
    if description is not None:
        return place / _FILES.get(description["container"], DESCRIPTION)
    for name in _FILES.values():
        if (place / name).is_file():
            return place / name
    return None


def _fetch(place: Path) -> None:
    """Bring a set here from its address: one file, or all of an export."""
    if mirror.address_of(place) is None:
        return
    if place.suffix in _SUFFIXES:
        mirror.fetch(place)
    elif mirror.fetch(place / DESCRIPTION):
        mirror.pull(place)
    else:
        for name in _FILES.values():
            mirror.fetch(place / name)
