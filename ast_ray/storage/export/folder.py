"""The folder of an export: appears whole, lists its files, and is replaced only where nothing else lies in it.

`DESCRIPTION` holds the list, with the checksum of every other file and one of its own content. A folder whose files are
all there as they were written belongs to the export; a file that was added or edited belongs to the user.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ast_ray.errors import ResourceError, StoreError
from ast_ray.storage import mirror
from ast_ray.storage.atomic import PREFIX
from ast_ray.storage.export.common import DESCRIPTION, description_checksum, read_description, write_description
from ast_ray.storage.permissions import FOLDER

_SHOWN = 5


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside the target that takes its place when the block succeeds.

    Raises:
        StoreError: the target holds something that no export wrote, by name; ResourceError: it cannot be written.
    """
    before = own_files(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = Path(tempfile.mkdtemp(dir=target.parent, prefix=PREFIX))
    except OSError as error:
        raise ResourceError(f"cannot write in {target.parent}: {error.strerror}") from error
    try:
        yield inside
        inside.chmod(FOLDER)
        own_files(target)  # once more, since writing takes a while
        _swap(inside, target)
        for name in before:
            if not (target / name).exists():
                mirror.remove(target / name)
        mirror.publish_tree(target)
    except OSError as error:
        raise ResourceError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def own_files(target: Path) -> list[str]:
    """Names of the files of an earlier export; none where the target is absent or empty.

    Raises:
        StoreError: something that no export wrote stands in the way, by name.
    """
    mirror.pull(target)
    if not os.path.lexists(target):
        return []
    if not target.is_dir():
        raise StoreError(f"{target}: exists and is not an export of ast-ray; choose another --out")
    files, folders, others = _held(target)
    if not (files or folders or others):
        return []
    description = read_description(target)
    if description is None:
        held = _some(sorted((*files, *folders, *others)))
        raise StoreError(f"{target}: exists and is not an export of ast-ray; choose another --out (it holds {held})")
    written = description.get("files")
    if not isinstance(written, dict):
        reason = "an earlier version's export, without a list of its files"
        raise StoreError(f"{target}: holds {reason}; delete it, or choose another --out")
    own = {DESCRIPTION, *written}
    needed = {parent.as_posix() for name in own for parent in PurePosixPath(name).parents}
    added = [name for name in files if name not in own] + [name for name in folders if name not in needed] + others
    edited = [name for name in files if name in written and _sum(target / name) != written[name]]
    if description.get("list_checksum") != description_checksum(description):
        edited.append(DESCRIPTION)
    if added or edited:
        reasons = [f"{_some(names)} ({what})" for names, what in ((added, "added"), (edited, "edited")) if names]
        raise StoreError(
            f"{target}: an export, and since then {', '.join(reasons)}; nothing was replaced: move that away, or "
            "choose another --out"
        )
    return files


def describe(folder: Path, container: str, description: Mapping[str, Any]) -> None:
    """Write ``dataset.json`` with the list of the files that lie in the folder."""
    files = {name: _sum(folder / name) for name in _held(folder)[0]}
    content = {**description, "files": files}
    told = description_checksum({**content, "container": container})
    write_description(folder, container, {**content, "list_checksum": told})


def _swap(inside: Path, target: Path) -> None:
    """Put the new folder in the old one's place; a failure leaves the old one where it was."""
    if not target.exists() or not any(target.iterdir()):
        os.replace(inside, target)
        return
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=PREFIX))
    os.replace(target, aside)
    try:
        os.replace(inside, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside)


def _held(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Paths under a folder: plain files, folders, anything else (links, pipes); a mirror's records are left out."""
    files: list[str] = []
    inner: list[str] = []
    others: list[str] = []
    mirrored = mirror.address_of(folder) is not None
    for place, folders, names in os.walk(folder):
        if mirrored:
            folders[:] = [name for name in folders if name != mirror.SUMS]
        for name in (*folders, *names):
            path = Path(place, name)
            kind = others if path.is_symlink() else inner if path.is_dir() else files if path.is_file() else others
            kind.append(path.relative_to(folder).as_posix())
    return sorted(files), sorted(inner), sorted(others)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
