"""Write a set in one container: a folder that appears whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ast_ray.config.ownership import published
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import ConfigError, Problem, suggestion
from ast_ray.storage.export.arrays import write_npz, write_pt
from ast_ray.storage.export.folder import describe, whole_folder
from ast_ray.storage.export.hugging_face import write_hugging_face
from ast_ray.storage.export.png import write_png
from ast_ray.storage.synthetic import pack, save_synthetic


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
        ConfigError: unknown format; StoreError: the folder holds something that no export wrote;
            ResourceError: it cannot be written.
    """
    check_formats([container])
    told = _with_protocol(synthetic, reported)
    with whole_folder(folder) as inside:
        FORMATS[container](told, inside)
        describe(inside, container, pack(told)[1])
    return folder


def check_formats(names: Sequence[str]) -> None:
    """Refuse unknown formats, each with the nearest name."""
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ConfigError([Problem("format", name, f"unknown format{suggestion(name, FORMATS)}") for name in unknown])


def _with_protocol(synthetic: SyntheticSet, reported: Sequence[Mapping[str, Any]]) -> SyntheticSet:
    about = dict(synthetic.provenance)
    if isinstance(config := about.get("config"), Mapping):
        about["config"] = published(config)
    settings = about.get("config", {}).get("evaluate", {})
    if all(name in settings for name in _PROTOCOL):
        about["protocol"] = {"name": "strict", **{name: settings[name] for name in _PROTOCOL}}
    if reported:
        about["reported"] = [dict(row) for row in reported]
    return dataclasses.replace(synthetic, provenance=about)
