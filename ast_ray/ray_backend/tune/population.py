"""Population based training: members copy the state of better ones and go on with perturbed rates.

A member's result depends on its whole history, not on one configuration, so it has an identity of its own (its number
in this search) and a lineage on disk, ``lineage.jsonl``: when it took over whose state and with which values. A search
with this scheduler is not deterministic: who copies whom depends on who reports first.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

from ray import tune
from ray.tune.search.sample import Domain, Float

from ast_ray.config.identity import fingerprint, method_identity
from ast_ray.config.loading import apply_overrides
from ast_ray.ray_backend.tune.trainable import SearchContext, experts_for, metrics_of
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.record import FINAL, Rung, TrialRecord
from ast_ray.search.trial import Trial, plan_trial, run_trial
from ast_ray.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ast_ray.storage.containers.documents import read_document, sealed_line, write_document

# Settings that a running distillation can take up at any iteration.
MUTABLE = (
    "distill.step_img",
    "distill.step_lr",
    "distill.lr_img",
    "distill.lr_lr",
    "distill.student_lr",
    "distill.outer_momentum",
    "distill.rho",
    "distill.vartheta",
)
_ALPHA = "distill.student_lr"


class _Member(TypedDict):
    """The owner of the state in a checkpoint of Tune's: member, fingerprint of its identity, and its settings."""

    member: str
    fingerprint: str
    overrides: dict[str, Any]


def mutations(space: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a space that is perturbed while a member runs."""
    return {path: domain for path, domain in space.items() if path in MUTABLE and isinstance(domain, Domain)}


class Clamp:
    """Keeps perturbed numbers inside the bounds of their domains."""

    def __init__(self, domains: Mapping[str, Any]) -> None:
        self._bounds = {
            path: (domain.lower, domain.upper) for path, domain in domains.items() if isinstance(domain, Float)
        }

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration with numbers moved to the nearest bound."""
        inside = {path: min(max(config[path], low), high) for path, (low, high) in self._bounds.items()}
        return {**config, **inside}


def member_name(number: int) -> str:
    """The folder of a member."""
    return f"pbt-{number:05d}"


def member_number() -> int:
    """The number of the member running here: Tune's trial ids end in it."""
    return int(str(tune.get_context().get_trial_id()).rpartition("_")[2])


def population_trial(config: dict[str, Any], context: SearchContext) -> None:
    """Run one member from its own state, or from the one Tune hands over, and report with a checkpoint."""
    overrides = context.draws.overrides(config)
    trial = plan_member(context, overrides, member_number())
    handed = tune.get_checkpoint()
    if handed is not None:
        with handed.as_directory() as folder:
            adopt(trial, Path(folder))
    record = TrialRecord.read(trial.directory)
    known = record.rungs[-1].iteration if record and record.rungs and record.status not in FINAL else 0
    with closing(run_trial(trial, experts_for(context), context.sink)) as rungs:
        for rung in rungs:
            if rung.iteration >= known:
                _report(trial, rung)


def plan_member(context: SearchContext, overrides: Mapping[str, Any], number: int) -> Trial:
    """A trial whose identity is its lineage."""
    trial = plan_trial(context.base, overrides, context.data_id, context.directory)
    start = method_identity(apply_overrides(context.base, {"distill.iterations": trial.config.distill.iterations}), "")
    identity = {"member": number, "base": fingerprint(start), "data": context.data_id}
    return dataclasses.replace(trial, name=member_name(number), identity=identity)


def _report(trial: Trial, rung: Rung) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work, target = trial.directory.work, Path(folder)
        if not work.checkpoint.exists():
            tune.report(metrics_of(trial.name, rung, trial.overrides))
            return
        shutil.copy(work.checkpoint, target / work.checkpoint.name)
        shutil.copy(work.metrics, target / work.metrics.name)
        about = {"member": trial.name, "fingerprint": fingerprint(trial.identity), "overrides": dict(trial.overrides)}
        write_document(target / "member.json", about)
        tune.report(
            metrics_of(trial.name, rung, trial.overrides), checkpoint=tune.Checkpoint.from_directory(str(target))
        )


def adopt(trial: Trial, folder: Path) -> None:
    """Make the state in ``folder`` this member's own, under this member's settings.

    alpha is learned, so a perturbed alpha0 scales the alpha reached: alpha * new alpha0 / old alpha0.
    """
    about = read_document(folder / "member.json", _Member)
    assert about is not None
    work = trial.directory.work
    found = read_checkpoint(folder / work.checkpoint.name, about["fingerprint"])
    assert found is not None
    same = about["member"] == trial.name and about["overrides"] == dict(trial.overrides)
    own = read_checkpoint(work.checkpoint, fingerprint(trial.identity))
    if same and own is not None and own.values["iteration"] >= found.values["iteration"]:
        return
    old, new = about["overrides"].get(_ALPHA), trial.overrides.get(_ALPHA)
    tensors = dict(found.tensors)
    if old and new:
        tensors["student_lr"] = tensors["student_lr"] * (new / old)
    trial.directory.path.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / work.metrics.name, work.metrics)
    write_checkpoint(work.checkpoint, Checkpoint(fingerprint(trial.identity), tensors, found.values))
    record = TrialRecord.open(trial.directory, trial.name, trial.overrides, trial.experts_name)
    record.overrides, record.experts = dict(trial.overrides), trial.experts_name
    record.save()
    row = {"iteration": found.values["iteration"], "from": about["member"], "overrides": dict(trial.overrides)}
    with (trial.directory.path / "lineage.jsonl").open("a", encoding="utf-8") as file:
        file.write(sealed_line(row))


def members(directory: SearchDirectory) -> list[TrialRecord]:
    """The members of an interrupted population, by number, up to the first that never began."""
    found: list[TrialRecord] = []
    while (record := TrialRecord.read(directory.trial(member_name(len(found))))) is not None:
        found.append(record)
    return found
