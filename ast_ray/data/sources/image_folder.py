"""Any folder of images: ``class/image.png``, or ``train/class/image.png`` with ``test/`` (or ``val/``) beside it."""

from __future__ import annotations

from pathlib import Path

from ast_ray.config.files import file_problem
from ast_ray.data.sources.base import Listing, Source
from ast_ray.data.sources.chunks import Failure, file_chunks
from ast_ray.data.sources.files import SUFFIXES, content_key, hidden_folders, image_names, subfolders
from ast_ray.errors import DataError, counted

TEST_NAMES = ("test", "val", "validation", "valid")


def image_folder(folder: Path) -> Source:
    """Open a folder whose subfolders are classes; class names are the subfolders', sorted.

    Raises:
        DataError: no class folders, or splits of different classes.
    """
    train, test, unused = _splits(folder)
    files = {split: list(image_names(folder / split)) for split in dict.fromkeys((train, test)) if split is not None}
    every = [folder / split / name for split, names in files.items() for name in names]
    if not every:
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{folder}: no images in the class folders (files that end in {endings})")
    hidden = hidden_folders(folder / train)

    def listing() -> Listing:
        names = subfolders(folder / train)
        if test is not None:
            _same_classes(folder, names, subfolders(folder / test))
        filled = {name.partition("/")[0] for name in files[train] if "/" in name}
        failures = [Failure(name, "a class folder without images") for name in names if name not in filled]
        failures += [Failure(path.name, told) for path in (folder / train).iterdir() if (told := _broken(path))]
        kept = [name for name in names if name in filled]
        loose = [name for split in files.values() for name in split if "/" not in name]
        lying = f"{counted(len(loose), 'image')} outside the class folders left out"
        notes = (f"{lying}; first: {loose[0]}",) if loose else ()
        label = {name: number for number, name in enumerate(kept)}
        chunks = {
            split: file_chunks(
                folder / split, [(path, label[top]) for path in paths if (top := path.partition("/")[0]) in label]
            )
            for split, paths in files.items()
        }
        held = chunks[test] if test is not None else ()
        return Listing(chunks[train], held, tuple(kept), tuple(failures), notes, _left_out(folder, hidden, unused))

    return Source(str(folder), "/".join((content_key(every, folder), *hidden, *unused)), listing)


def walked(folder: Path) -> list[Path]:
    """Return the folders below which every picture is taken for an image of a class.

    Raises:
        DataError: no class folders.
    """
    train, test, _ = _splits(folder)
    return [folder / split for split in (train, test) if split is not None]


def _left_out(folder: Path, hidden: list[str], unused: list[str]) -> tuple[str, ...]:
    warnings = []
    if hidden:
        named = ", ".join(hidden[:5])
        warnings.append(
            f"{folder}: hidden folders are no classes; {counted(len(hidden), 'folder')} with images left out: {named}"
        )
    if unused:
        named = ", ".join(unused[:5])
        warnings.append(
            f"{folder}: train/ is taken for the training split, and {counted(len(unused), 'folder')} beside it left "
            f"out: {named}; if train is a class, put its images into train/ itself"
        )
    return tuple(warnings)


def _broken(path: Path) -> str:
    """Say what is wrong with a link that may have been a class; empty for anything else."""
    leads_nowhere = path.is_symlink() and path.suffix.lower() not in SUFFIXES and not path.exists()
    return file_problem(path) if leads_nowhere else ""


def _splits(folder: Path) -> tuple[str, str | None, list[str]]:
    """Name the training and the test folder, and folders with images that are neither.

    The first is ``.`` where the classes lie in the folder itself. One of them may be called train: it holds images,
    not class folders, and has other classes beside it.
    """
    held = subfolders(folder)
    if not held:
        some = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise DataError(f"{folder}: no class folders (expected {folder.name}/<class>/<image>; it holds {some})")
    if "train" not in held:
        return ".", None, []
    others = [name for name in held if name not in ("train", *TEST_NAMES) and any(image_names(folder / name))]
    if others and not any("/" in name for name in image_names(folder / "train")):
        return ".", None, []
    return "train", next((name for name in TEST_NAMES if name in held), None), others


def _same_classes(folder: Path, train: list[str], test: list[str]) -> None:
    for name, missing in (("test", sorted(set(train) - set(test))), ("train", sorted(set(test) - set(train)))):
        if missing:
            raise DataError(
                f"{folder}: {counted(len(missing), 'class')} without a {name} folder: {', '.join(missing[:5])}; "
                "both splits need the same class folders"
            )
