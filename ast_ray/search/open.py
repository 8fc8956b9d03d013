"""Open the directory of a search: new, the same one gone on with, or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ast_ray.config.identity import differences
from ast_ray.config.loading import to_dict, to_yaml
from ast_ray.config.methods import method_info
from ast_ray.config.settings import Config
from ast_ray.config.text_seal import sealed_text
from ast_ray.data.real import RealData
from ast_ray.errors import ConfigError, Problem, StoreError
from ast_ray.search.directory import SearchDirectory
from ast_ray.stages.run.changes import OTHER_IMAGES, other_images
from ast_ray.stages.run.preflight import check_against_data, check_folder, expert_bytes
from ast_ray.storage.atomic import write_text
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.records.manifest import whole_manifest
from ast_ray.storage.records.settings import read_settings
from ast_ray.storage.stale_files import remove_leftovers
from ast_ray.telemetry.provenance import environment

# What may change between two sessions of one search: how long it goes on and what comes after it.
FREE = ("trials", "concurrency", "final_configs", "final_seeds")


def absolute(config: Config) -> Config:
    """Replace a folder of images named relative to here by its full path: trials run elsewhere."""
    source = Path(config.data.source).expanduser()
    if not source.is_dir():
        return config
    return dataclasses.replace(config, data=dataclasses.replace(config.data, source=str(source.resolve())))


def with_shared_experts(config: Config, space: Collection[str]) -> Config:
    """Return the settings with every expert epoch trained where the space draws how far matching reaches.

    Trials with other T+ or M then share experts; with the reachable epochs only, each would train its own.
    """
    if not {"distill.max_start_epoch", "distill.expert_epochs"} & set(space):
        return config
    return dataclasses.replace(config, expert=dataclasses.replace(config.expert, reachable_only=False))


def open_search(
    config: Config, data: RealData, directory: SearchDirectory, space_source: str, command: Sequence[str]
) -> None:
    """Check data, folder and settings, then write config, space and manifest; the same search again is welcome.

    Raises:
        StoreError: the folder holds another search; ResourceError: it cannot be written or is too small.
    """
    check_against_data(config, data)
    matched = method_info(config.tune.method).needs_experts
    check_folder(directory.path, config.expert.count * expert_bytes(config, data) if matched else 0)
    _refuse_other(config, data.data_id, directory, space_source)
    remove_leftovers(directory.path)
    write_text(directory.config, sealed_text(to_yaml(config)))
    write_text(directory.space, space_source)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"command": list(command), "time": now, "environment": environment()}
    commands = [*whole_manifest(directory.manifest)["commands"], entry]
    write_document(directory.manifest, {"data_id": data.data_id, "commands": commands})


def _content(config: Config) -> dict[str, Any]:
    values = {name: value for name, value in to_dict(config).items() if name not in ("compute", "preset", "run")}
    values["tune"] = {name: value for name, value in values["tune"].items() if name not in (*FREE, "space")}
    values["data"] = {
        name: value for name, value in values["data"].items() if name not in ("root", "download", "placement")
    }
    return values


def _refuse_other(config: Config, data_id: str, directory: SearchDirectory, space_source: str) -> None:
    if not directory.config.exists():
        if any(directory.path.glob("distill")):
            raise StoreError(f"{directory.path}: holds a run, not a search; choose another --out")
        return
    changed = differences(_content(config), _content(read_settings(directory.config)))
    if directory.space.is_file() and directory.space.read_bytes() != space_source.encode():
        changed.append(f"the space differs from {directory.space}")
    images = [] if any(line.startswith("data.") for line in changed) else other_images(directory.manifest, data_id)
    if changed or images:
        listed = "\n  ".join(changed + images)
        error = StoreError(
            f"{directory.path}: holds a search with other settings; choose another --out, or use these:\n  {listed}"
        )
        if images:
            error.add_note(OTHER_IMAGES)
        raise error


def load_search(directory: SearchDirectory) -> Config:
    """The settings of a search on disk.

    Raises:
        ConfigError: no search there.
    """
    if not directory.config.exists() or not directory.space.exists():
        reason = "no search in this folder (expected config.yaml and space.py)"
        raise ConfigError([Problem("--resume", str(directory.path), reason)])
    return read_settings(directory.config)
