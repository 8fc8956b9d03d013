"""Open a run directory: new, or the same run gone on with; anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from ast_ray.config.fingerprint import differences, expert_identity, fingerprint
from ast_ray.config.loading import to_dict, to_yaml
from ast_ray.config.presets import method_config
from ast_ray.config.settings import Config
from ast_ray.data.real import RealData
from ast_ray.errors import StoreError
from ast_ray.stages.preflight import check_against_data, check_folder, expert_bytes
from ast_ray.store.atomic import write_json, write_text
from ast_ray.telemetry.provenance import environment
from ast_ray.telemetry.run_directory import RunDirectory


def _content(values: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what a run computes."""
    kept = {name: value for name, value in values.items() if name not in ("compute", "preset", "tune")}
    kept["data"] = {name: value for name, value in values.get("data", {}).items() if name not in ("root", "download")}
    return kept


def open_run(config: Config, data: RealData, directory: RunDirectory, command: Sequence[str]) -> None:
    """Check folder, space and settings, then write config and manifest; the same run again is welcome.

    Raises:
        StoreError: the directory holds a run with other settings; ResourceError: it cannot be written or is too small.
    """
    check_against_data(config, data)
    experts = {fingerprint(expert_identity(method_config(config, name), data.data_id)) for name in config.run.methods}
    present = sum(file.stat().st_size for file in directory.experts.glob("*/expert-*.parquet"))
    inside = 0 if config.compute.store else len(experts) * config.expert.count * expert_bytes(config, data)
    check_folder(directory.path, max(0, inside - present))
    _refuse_other_settings(config, directory)
    write_text(directory.config, to_yaml(config))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"command": list(command), "time": now, "environment": environment()}
    manifest = {"data_id": data.data_id, "classes": list(data.class_names), "image_shape": list(data.image_shape)}
    write_json(directory.manifest, {**manifest, "commands": [*_earlier(directory), entry]})


def _earlier(directory: RunDirectory) -> list[Any]:
    try:
        found = json.loads(directory.manifest.read_text(encoding="utf-8"))
        return list(found["commands"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _refuse_other_settings(config: Config, directory: RunDirectory) -> None:
    if not directory.config.exists():
        return
    try:
        found = yaml.safe_load(directory.config.read_text(encoding="utf-8"))
        other = _content(found)
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise StoreError(
            f"{directory.config}: cannot be read ({error}); move it away or choose another --out"
        ) from error
    changed = differences(_content(to_dict(config)), other)
    if changed:
        listed = "\n  ".join(changed)
        raise StoreError(
            f"{directory.path}: holds a run with other settings; choose another --out, or use these:\n  {listed}"
        )
