"""Write a set in one container: a folder that appears whole."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import ConfigError, Problem, ResourceError, StoreError, nearest
from ast_ray.store import mirror
from ast_ray.store.export.arrays import write_npz, write_pt
from ast_ray.store.export.hugging_face import write_hugging_face
from ast_ray.store.export.parts import read_description, write_description
from ast_ray.store.export.png import write_png
from ast_ray.store.synthetic import pack, save_synthetic


def _canonical(synthetic: SyntheticSet, folder: Path) -> None:
    save_synthetic(folder / "synthetic.safetensors", synthetic)


FORMATS: dict[str, Callable[[SyntheticSet, Path], None]] = {
    "safetensors": _canonical,
    "hf": write_hugging_face,
    "png": write_png,
    "npz": write_npz,
    "pt": write_pt,
}
_PROTOCOL = ("passes", "batch_size", "momentum", "weight_decay", "lr_decay_pass", "lr_decay_factor")


def export_set(
    synthetic: SyntheticSet, folder: Path, container: str, *, reported: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Write the set to ``folder`` in one of `FORMATS`, replacing an earlier export there; return the folder.

    ``reported`` are rows of the results table to go with it.

    Raises:
        ConfigError: unknown format; StoreError: the folder holds something else; ResourceError: cannot be written.
    """
    check_formats([container])
    told = _with_protocol(synthetic, reported)
    with _whole_folder(folder) as inside:
        FORMATS[container](told, inside)
        write_description(inside, container, pack(told)[1])
    return folder


def check_formats(names: Sequence[str]) -> None:
    """Refuse unknown formats, each with the nearest name."""
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ConfigError([Problem("format", name, f"unknown format{nearest(name, FORMATS)}") for name in unknown])


def _with_protocol(synthetic: SyntheticSet, reported: Sequence[Mapping[str, Any]]) -> SyntheticSet:
    about = dict(synthetic.provenance)
    settings = about.get("config", {}).get("evaluate", {})
    if all(name in settings for name in _PROTOCOL):
        about["protocol"] = {"name": "strict", **{name: settings[name] for name in _PROTOCOL}}
    if reported:
        about["reported"] = [dict(row) for row in reported]
    return dataclasses.replace(synthetic, provenance=about)


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside the target that takes its place when the block succeeds."""
    mirror.pull(target)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and read_description(target) is None)):
        raise StoreError(f"{target}: exists and is not an export of ast-ray; choose another --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    except OSError as error:
        raise ResourceError(f"cannot write in {target.parent}: {error.strerror}") from error
    try:
        yield inside
        inside.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(inside, target)
        mirror.publish_tree(target)
    except OSError as error:
        raise ResourceError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)
