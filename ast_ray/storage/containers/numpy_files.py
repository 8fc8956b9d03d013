"""NumPy files: ``.npz`` archives and single ``.npy`` arrays, without Python objects."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage.containers.opening import FOREIGN, parsing, require_file


def read_npz(path: Path, *, error: type[AstRayError] = StoreError) -> dict[str, np.ndarray]:
    """Return every array of an archive by name.

    Raises:
        error: missing, damaged, encrypted, no archive, or holding more than plain arrays.
    """
    require_file(path, error)
    with parsing(path, error, told=FOREIGN):
        if not zipfile.is_zipfile(path):
            raise ValueError("no .npz archive")
        _require_memory(path)
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        other = [name for name, array in found.items() if not isinstance(array, np.ndarray)]
        if other or not found:
            raise ValueError(f"{other[0]} is no array" if other else "it holds no array")
        return found


def _require_memory(path: Path) -> None:
    """A few megabytes of archive can stand for more than the machine has."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with zipfile.ZipFile(path) as archive:
        size = sum(item.file_size for item in archive.infolist())
    if size > whole:
        raise ValueError(f"unpacked it takes {size / 2**30:.0f} GiB, this machine's memory is {whole / 2**30:.0f} GiB")


def read_npy(path: Path, *, error: type[AstRayError] = StoreError) -> np.ndarray:
    """Return the array of a file.

    Raises:
        error: missing, damaged, no array, or one of Python objects.
    """
    require_file(path, error)
    with parsing(path, error, told=FOREIGN), path.open("rb") as file:  # numpy leaves a file that it opens itself open
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("an archive, not a single array")
        return found
