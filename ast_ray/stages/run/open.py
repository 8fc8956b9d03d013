"""Open a run directory: new, or the same run gone on with; anything else is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ast_ray.config.identity import unused_epochs
from ast_ray.config.loading import to_dict, to_yaml
from ast_ray.config.methods import matched_methods
from ast_ray.config.text_seal import sealed_text
from ast_ray.errors import StoreError
from ast_ray.stages.run.changes import content, earlier_settings, refuse_other_settings
from ast_ray.stages.run.pipeline import Plan, expert_methods
from ast_ray.stages.run.preflight import check_against_data, check_folder, expert_bytes
from ast_ray.storage.atomic import write_text
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.folder import Folder
from ast_ray.storage.records.manifest import whole_manifest
from ast_ray.storage.stale_files import remove_leftovers
from ast_ray.telemetry.provenance import environment


def check_run(plan: Plan) -> None:
    """Refuse what can be refused before anything is written: settings, directory, experts, space.

    Raises:
        ConfigError: settings the images cannot serve; StoreError: the directory holds work done with other settings
        (`run_changes`), or experts of other settings; ResourceError: a folder cannot be written or is too small.
    """
    own = ("mtt",) if "mtt" in plan.config.run.methods and plan.config.run.mtt_settings else ()
    for config in (plan.config, *map(plan.method, own)):
        check_against_data(config, plan.data)
    refuse_other_settings(plan)
    needed: Counter[Path] = Counter({plan.directory.path: 0})
    buffers = {buffer.folder: buffer for buffer in map(plan.buffer, expert_methods(plan.config))}
    if plan.buffer_folder and not Folder(plan.buffer_folder).fetch("buffer.json"):
        raise StoreError(
            f"{Folder(plan.buffer_folder)}: no experts here (expected a folder with a buffer.json, RUN/experts/*)"
        )
    for method in expert_methods(plan.config):
        try:
            plan.buffer(method).check()
        except StoreError as error:
            error.add_note(f"(asked for by method {method!r}; run.methods says which methods run)")
            raise
    for folder, buffer in buffers.items():
        if missing := buffer.missing():
            inside = folder.is_relative_to(plan.directory.path)
            place = plan.directory.path if inside else folder if folder.exists() else folder.parent
            at_work = min(len(missing), plan.config.compute.workers or 1)  # each keeps up to two trajectories more
            needed[place] += (len(missing) + 2 * at_work) * expert_bytes(plan.config, plan.data)
    for folder, size in needed.items():
        check_folder(folder, size)


def unused(plan: Plan) -> list[str]:
    """Return messages about epochs that missing experts are trained for and matching never reaches, each once."""
    said: dict[str, None] = {}
    for method in matched_methods(plan.config):
        line = unused_epochs(plan.method(method))
        if line and plan.buffer(method).missing():
            said[line] = None
    return list(said)


def record_run(plan: Plan, command: Sequence[str]) -> None:
    """Write config and manifest into the run directory; the same run again adds its command.

    Settings that changed since the last command are kept in the manifest as they were. What killed writers left here
    and among the experts is deleted.
    """
    data, directory = plan.data, plan.directory
    for folder in {directory.path, *(plan.buffer(method).folder for method in expert_methods(plan.config))}:
        remove_leftovers(folder)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"command": list(command), "time": now, "environment": environment()}
    manifest: dict[str, Any] = {
        "data_id": data.data_id,
        "classes": list(data.class_names),
        "image_shape": list(data.image_shape),
    }
    kept = whole_manifest(directory.manifest)
    earlier = list(kept.get("earlier", []))
    before = earlier_settings(directory)
    if before is not None and content(before) != content(to_dict(plan.config)):
        earlier.append({"until": now, "settings": before})
    manifest |= {"earlier": earlier} if earlier else {}
    write_document(directory.manifest, {**manifest, "commands": [*kept["commands"], entry]})
    write_text(directory.config, sealed_text(to_yaml(plan.config)))
