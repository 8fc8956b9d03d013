"""Helpers of the sources of files: finding the images, and a key that changes when a file does."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ast_ray.config.files import reason
from ast_ray.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"})
_LITTER = ("__MACOSX", "__pycache__")  # what archivers and interpreters leave
_FEW_FILES, _FEW_BYTES = 64, 2**30


def image_names(folder: Path, below: str = "", _above: tuple[str, ...] = ()) -> Iterator[str]:
    """Images in a folder and its subfolders, as sorted paths under it; hidden ones are left out.

    Links are followed; one that leads nowhere is named as well, and cannot be read later.

    Raises:
        DataError: a folder that cannot be listed, or that contains itself.
    """
    here = folder / below
    try:
        entries = sorted(os.scandir(here), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{here}: cannot be listed ({reason(error)})") from error
    above = (*_above, os.path.realpath(here))
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _LITTER:
            continue
        name = f"{below}/{entry.name}" if below else entry.name
        if _is_folder(entry):
            if entry.is_symlink() and os.path.realpath(entry.path) in above:
                raise DataError(f"{entry.path}: a link that leads back to a folder above it; remove it")
            yield from image_names(folder, name, above)
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
    stats = [_stat(path) for path in files]
    digest = hashlib.sha256()
    whole = len(files) <= _FEW_FILES and sum(known.st_size for known in stats if known) <= _FEW_BYTES
    for path, known in zip(files, stats, strict=True):
        size = known.st_size if known else "unreadable"
        digest.update(os.fsencode(f"{os.path.relpath(path, root)}\0{size}\0"))
        if known is None:
            continue
        if whole:
            with suppress(OSError), path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(str(known.st_mtime_ns).encode())
    return digest.hexdigest()[:16]


def _stat(path: Path) -> os.stat_result | None:
    """Return the system's record of a regular file; None for anything else, which is told of when it is to be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False
