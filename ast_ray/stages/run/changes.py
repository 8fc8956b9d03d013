"""Settings that may change between two commands for one run directory: those that decide nothing that is there.

A setting of a method that failed or has not begun may be repaired while what others have done stays as it is; methods
and baselines may come and go. Compared is what each artefact was made with: the identity in a finished or begun set,
that of a buffer of experts, the token of an evaluated row. Seed, data and network are those of the whole run, and so
is what the images show, whatever their folder is called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ast_ray.config.identity import differences, earlier_config, fingerprint, method_identity
from ast_ray.config.loading import flatten, to_dict
from ast_ray.config.ownership import computed
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError, StoreError
from ast_ray.stages.evaluation.evaluate import PROTOCOL, networks_of
from ast_ray.stages.evaluation.rows import cells, row_identity
from ast_ray.stages.run.pipeline import Plan, evaluated_sets, expert_methods, set_identity
from ast_ray.storage.containers.documents import MARK, read_document
from ast_ray.storage.records.manifest import whole_manifest
from ast_ray.storage.records.settings import read_values
from ast_ray.storage.replaced import check_own
from ast_ray.storage.run_directory import MethodDirectory, RunDirectory
from ast_ray.storage.synthetic import load_synthetic
from ast_ray.telemetry.failure import read_failure

_WHOLE_RUN = ("seed:", "data.", "network.")
_IMAGES = "data.id:"
OTHER_IMAGES = "(data.id is the checksum of the decoded images: some were added, removed or changed since)"
# What identities call settings that have another name for people.
_NAMES = {"experts:": "expert.count:", "set.batch_size:": "expert.batch_size:", "set.expert.": "", "set.": "distill."}


def content(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what a run computes."""
    return {name: value for name, value in computed(values).items() if name != "preset"}


def earlier_settings(directory: RunDirectory) -> dict[str, Any] | None:
    """Return the settings of the last command, later ones added where that changes nothing; None in a new directory.

    Raises:
        StoreError: they cannot be read.
    """
    if not directory.config.exists():
        return None
    found = read_values(directory.config)
    try:
        return to_dict(earlier_config(found))
    except ConfigError:  # settings of another version
        return found


def refuse_other_settings(plan: Plan) -> None:
    """Refuse settings under which something that is there would have to be made again, and files of somebody else.

    Raises:
        StoreError: names every such setting with both values, and what was made with the earlier one; or names a file
            that a run writes and ast-ray did not write.
    """
    found = earlier_settings(plan.directory)
    if found is None:
        refuse_others_files(plan.directory)
    changed = [] if found is None else differences(content(to_dict(plan.config)), content(found))
    if not any(line.startswith("data.") for line in changed):
        changed += other_images(plan.directory.manifest, plan.data.data_id)
    if found is None or not changed:
        return
    owners: dict[str, list[str]] = {}
    for owner, lines in _conflicts(plan, found, changed):
        for line in lines:
            owners.setdefault(line, []).append(owner)
    if owners:
        listed = "\n  ".join(f"{line} ({', '.join(names)})" for line, names in sorted(owners.items()))
        told = "holds a run with other settings; choose another --out, or use these"
        error = StoreError(f"{plan.directory}: {told}:\n  {listed}")
        if later := _later(plan.directory, found, owners):
            told = "config.yaml there is of an earlier version; what it lacks is shown as what meant the same"
            error.add_note(f"({told}: {', '.join(later)})")
        if len(plan.config.run.methods) > 1:
            error.add_note("(run.mtt_settings changes method mtt alone; run.methods leaves a method out)")
        if any(line.startswith(_IMAGES) for line in owners):
            error.add_note(OTHER_IMAGES)
        raise error


def refuse_others_files(directory: RunDirectory) -> None:
    """Refuse to replace documents without our checksum in a folder without our settings: they are not of a run.

    Raises:
        StoreError: names the file; ResourceError: it cannot be read.
    """
    for path in (directory.manifest, directory.results, directory.features):
        check_own(path, MARK, "--out", anywhere=True)


def other_images(manifest: Path, data_id: str) -> list[str]:
    """Return the line of a difference where a manifest names other images than these; none where it names none."""
    earlier = whole_manifest(manifest).get("data_id", data_id)
    return [] if earlier == data_id else [f"{_IMAGES} {data_id} here, {earlier} there"]


def _later(directory: RunDirectory, found: Mapping[str, Any], lines: Iterable[str]) -> list[str]:
    """Return the settings named in ``lines`` that the file of the last command lacks and ``found`` has."""
    written = read_values(directory.config) if directory.config.exists() else {}
    lacking = flatten(found).keys() - flatten(written).keys()
    return sorted(lacking & {line.partition(":")[0] for line in lines})


def _conflicts(plan: Plan, found: Mapping[str, Any], changed: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield what is there, in words, with the changed settings that decided it."""
    try:
        before = earlier_config(found)
    except ConfigError:  # nobody can tell what they decided
        yield "written by another version, whose settings this one does not know", changed
        return
    whole = [line for line in changed if line.startswith(_WHOLE_RUN)]
    if whole and _holds_work(plan.directory):
        yield "the whole run", whole
    earlier = dataclasses.replace(plan, config=before)
    trained = expert_methods(plan.config)
    for method in dict.fromkeys((*trained, *plan.config.run.methods)):
        both = [_distilled(plan, earlier, method)] + ([_trained(plan, earlier, method)] if method in trained else [])
        for owner, lines in both:
            yield owner, _told(lines)
    yield from _evaluated(plan, before)


def _told(lines: list[str]) -> list[str]:
    """Return differences of identities as settings are called, without those of the whole run."""
    renamed = [
        next((new + line[len(old) :] for old, new in _NAMES.items() if line.startswith(old)), line) for line in lines
    ]
    return [line for line in renamed if not line.startswith(_WHOLE_RUN) or line.startswith(_IMAGES)]


def _holds_work(directory: RunDirectory) -> bool:
    """Return whether anything was finished or begun that a seed, the data or the network decides."""
    if directory.expert_files():
        return True
    methods = [directory.method(path.name) for path in directory.path.glob("distill/*")]
    if any(place.outcome.exists() or _begun(place) for place in methods):
        return True
    return any("accuracy" in entry for entry in map(_entry, directory.evaluation.path.glob("*.json")))


def _begun(place: MethodDirectory) -> bool:
    """Return whether a distillation has something to go on from; one that failed has not."""
    return place.fetch(place.checkpoint) and read_failure(place) is None


def _distilled(plan: Plan, earlier: Plan, method: str) -> tuple[str, list[str]]:
    """Compare a method's set, finished or begun, with the one that is asked for."""
    job = plan.distill_job(method)
    place, wanted = job.directory, job.identity
    if method not in plan.config.run.methods or read_failure(place) is not None:
        return method, []
    if place.fetch(place.outcome):
        made = _entry(place.outcome).get("fingerprint")
        path = place.synthetic
        state = "finished"
    elif _begun(place):
        made = None
        path = place.initial
        state = "begun"
    else:
        return method, []
    identity = None
    try:
        provenance = load_synthetic(path).provenance
        made = made or provenance["fingerprint"]
        identity = method_identity(earlier_config(provenance["config"]), provenance["data_id"], method)
    except (StoreError, ConfigError, KeyError):
        made = made or fingerprint(earlier.distill_job(method).identity)
    if made == fingerprint(wanted):
        return method, []
    for candidate in (identity, earlier.distill_job(method).identity):
        if candidate is not None and fingerprint(candidate) == made:
            return f"{method} is {state}", differences(wanted, candidate)
    return f"{method} is {state}", [f"fingerprint: {fingerprint(wanted)} here, {made} there"]


def _trained(plan: Plan, earlier: Plan, method: str) -> tuple[str, list[str]]:
    """Compare the experts of a method that is still to be distilled; those of one that failed may be others."""
    wanted, there = plan.buffer(method), earlier.buffer(method)
    place = plan.directory.method(method)
    ours = there.folder.is_relative_to(plan.directory.path)
    if plan.buffer_folder or not ours or place.fetch(place.outcome) or read_failure(place) is not None:
        return method, []
    if wanted.fingerprint == there.fingerprint or not there.finished():
        return method, []
    return f"{method} has experts", differences(wanted.identity, there.identity)


def _evaluated(plan: Plan, before: Config) -> Iterator[tuple[str, list[str]]]:
    """Compare the rows that are there with those asked for under the same names.

    A real set that follows the settings of a method that is asked for (the expert it is chosen with, the batches of
    its training) is evaluated again; the protocol, the network and the number of images stay.
    """
    known: dict[str, dict[str, Any]] = {}
    for config in (before, *_settings_before(plan.directory)):
        known.update(_row_identities(dataclasses.replace(plan, config=config)))
    for name, source, method in evaluated_sets(plan):
        for architecture, protocol in cells(plan.method(method), source):
            wanted = _row_identity(plan, (name, source, method), architecture, protocol)
            label = architecture or plan.config.network.name
            rows = (plan.directory.row(name, label, protocol, n) for n in range(networks_of(plan.config, source)))
            tokens = {entry["token"] for entry in map(_entry, rows) if {"accuracy", "token"} <= entry.keys()}
            for token in tokens & known.keys() - {fingerprint(wanted)}:
                lines = differences(wanted, known[token])
                if method in plan.config.run.methods:
                    lines = [line for line in lines if not line.startswith("set.") or line.startswith("set.ipc:")]
                yield f"rows of {name}" + ("" if protocol == PROTOCOL else f" ({protocol})"), _told(lines)


def _row_identities(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the identity of every row of a run by its token."""
    found = [
        _row_identity(plan, (name, source, method), architecture, protocol)
        for name, source, method in evaluated_sets(plan)
        for architecture, protocol in cells(plan.method(method), source)
    ]
    return {fingerprint(identity): identity for identity in found}


def _row_identity(plan: Plan, of: tuple[str, str, str], architecture: str, protocol: str) -> dict[str, Any]:
    return row_identity(plan.method(of[2]), plan.data.data_id, architecture, protocol, set_identity(plan, *of))


def _settings_before(directory: RunDirectory) -> Iterator[Config]:
    """Yield the settings of earlier commands that differed."""
    for entry in _entry(directory.manifest).get("earlier", []):
        try:
            yield earlier_config(entry["settings"])
        except (ConfigError, KeyError, TypeError, AttributeError):
            continue


def _entry(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty where there is none, or a damaged one."""
    try:
        return read_document(path, dict[str, Any]) or {}
    except StoreError:
        return {}
