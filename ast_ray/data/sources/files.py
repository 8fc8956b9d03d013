"""What every source of files needs: which files are images, and a key that changes when a file does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"})
_LITTER = ("__MACOSX", "__pycache__")  # what archivers and interpreters leave
_FEW_FILES, _FEW_BYTES = 64, 2**30


def image_names(folder: Path, below: str = "") -> Iterator[str]:
    """Images in a folder and its subfolders, as sorted paths under it; hidden ones are left out."""
    entries = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _LITTER:
            continue
        name = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir():
            yield from image_names(folder, name)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield name


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones and litter are left out."""
    return [name for name in _folders(folder) if not name.startswith(".") and name not in _LITTER]


def hidden_folders(folder: Path) -> list[str]:
    """Names of the hidden folders in a folder that hold images, sorted."""
    return [name for name in _folders(folder) if name.startswith(".") and any(image_names(folder / name))]


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def content_key(paths: Iterable[Path], root: Path) -> str:
    """Hash of names and bytes of a few files, or of names, sizes and modification times of many or large ones."""
    files = sorted(paths)
    stats = [path.stat() for path in files]
    digest = hashlib.sha256()
    whole = len(files) <= _FEW_FILES and sum(stat.st_size for stat in stats) <= _FEW_BYTES
    for path, stat in zip(files, stats, strict=True):
        digest.update(f"{os.path.relpath(path, root)}\0{stat.st_size}\0".encode())
        if whole:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(str(stat.st_mtime_ns).encode())
    return digest.hexdigest()[:16]
