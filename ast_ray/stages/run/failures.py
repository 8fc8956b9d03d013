"""Failures of a run: told when they happen, kept for later commands, listed with the results. The rest goes on.

A divergence is the settings' doing and would happen again, so the same settings are not tried twice: the record says
why and what to change. Lost workers and damaged files are tried again by the same command. What concerns the whole run
(bad settings, unusable images, a full disk) is no failure of one method; it ends the run at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ast_ray.config.identity import fingerprint
from ast_ray.errors import AstRayError, ConfigError, DataError, DivergenceError, ResourceError, WorkerLostError
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import finished
from ast_ray.stages.evaluation.evaluate import EvaluationJob, finished_row, journal_entry, networks_of, unfinished
from ast_ray.stages.evaluation.training_sets import NEEDS_EXPERT, REAL_SETS
from ast_ray.stages.experts.train import ExpertJob
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.folder import Folder
from ast_ray.telemetry.failure import Failure, FailureRecord, Stage, read_failure
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.provenance import environment
from ast_ray.telemetry.tensorboard import EVENTS

AnyJob: TypeAlias = ExpertJob | DistillJob | EvaluationJob


class Failures:
    """The failures of one command; called by an executor with every job that failed for good.

    ``jobs`` are the distillations of the run's methods, whether they are to be done now or not.
    """

    def __init__(self, jobs: Mapping[str, DistillJob], sink: ProgressSink) -> None:
        self._jobs, self._sink = jobs, sink
        self._methods: dict[str, Failure] = {}
        self._sets: dict[tuple[str, str, str], Failure] = {}
        versions = environment()["versions"]
        self._versions = {name: versions[name] for name in ("ast-ray", "torch")}

    def take_up(self, distilled: Collection[str]) -> None:
        """Tell what failed before and would fail again; forget the rest, which the ``distilled`` methods try again."""
        for name, job in self._jobs.items():
            record = read_failure(job.directory)
            if record is None or (record.failure.stage != "experts" and name not in distilled):
                continue
            if finished(job) or not self._holds(record, job):
                forget(record, job)
                continue
            self._methods[name] = record.failure
            kept = job.directory.shown(job.directory.failure)
            self._sink.say(
                f"{name}: {record.failure.what}. The same settings fail in the same way, so it is not tried again; "
                f"{record.failure.advice} (or delete {kept} to try it all the same)"
            )
        for failure in [one for one in self._methods.values() if one.stage == "experts"]:
            buffer = self._jobs[failure.set_name].buffer
            for name, job in self._jobs.items():
                if buffer is not None and _matches(job, buffer):
                    self._methods.setdefault(name, replace(failure, set_name=name))

    def _holds(self, record: FailureRecord, job: DistillJob) -> bool:
        """Return whether the method would fail again as it did."""
        if not record.failure.lasting or record.versions != self._versions or record.failure.stage == "evaluation":
            return False
        if record.failure.stage == "distillation":
            return record.method == fingerprint(job.identity)
        if job.buffer is None:
            return False
        wanted = [number for number in record.failure.numbers if number < job.config.expert.count]
        return record.experts == job.buffer.fingerprint and any(not job.buffer.has(number) for number in wanted)

    def includes(self, method: str) -> bool:
        """Return whether a method failed, now or before."""
        return method in self._methods

    def failed_experts(self, method: str) -> tuple[int, ...]:
        """Return the experts of a method that are known to diverge."""
        failure = self._methods.get(method)
        return failure.numbers if failure and failure.stage == "experts" and failure.lasting else ()

    def __call__(self, job: AnyJob, error: AstRayError) -> None:
        """Take a job that failed for good.

        Raises:
            AstRayError: the error itself, where it concerns the whole run.
        """
        if concerns_the_run(error):
            error.add_note(f"{job.key} failed. What finished is kept; the same command goes on once this is mended.")
            raise error
        if isinstance(job, DistillJob):
            self._take_method(job, _failure(job.method, "distillation", error), error)
        elif isinstance(job, ExpertJob):
            self._take_experts(job, error)
        else:
            self._take_networks(job, error)

    def _take_method(self, job: DistillJob, failure: Failure, error: AstRayError) -> None:
        self._end_bars([job.key])
        self._record(job, failure, str(error))
        if job.method not in self._methods:
            self._sink.say(_told(failure))
        self._methods[job.method] = failure

    def _record(self, job: DistillJob, failure: Failure, message: str) -> None:
        made_with = job.buffer.fingerprint if job.buffer is not None else "", fingerprint(job.identity)
        FailureRecord(failure, message, *made_with, versions=self._versions).write(job.directory)

    def _take_experts(self, job: ExpertJob, error: AstRayError) -> None:
        self._end_bars([job.key_of(number) for number in job.ids])
        numbers = tuple(number for number in job.ids if not job.buffer.has(number))
        for name, distillation in self._jobs.items():
            if not _matches(distillation, job.buffer):
                continue
            failure = self._methods.get(name) or _failure(name, "experts", error)
            count = distillation.config.expert.count
            failure = replace(failure, stage="experts", numbers=(*failure.numbers, *numbers), count=count)
            self._take_method(distillation, failure, error)

    def _take_networks(self, job: EvaluationJob, error: AstRayError) -> None:
        told = _cell(job) in self._sets
        for index in job.indices:
            if finished_row(job, index) is None:
                failure = self._add_network(job, index, _failure(job.set_name, "evaluation", error))
                if failure.lasting:
                    entry = {"token": job.token, "failure": failure.row(), "versions": self._versions}
                    write_document(job.row(index), entry)
        if not told:
            self._sink.say(_told(self._sets[_cell(job)]))

    def _add_network(self, job: EvaluationJob, index: int, failure: Failure) -> Failure:
        """Add a network to the failures of its set, network and protocol; return its own."""
        own = replace(
            failure,
            numbers=(index,),
            count=networks_of(job.config, job.source),
            network=job.label,
            protocol=job.protocol,
        )
        earlier = self._sets.get(_cell(job))
        self._sets[_cell(job)] = replace(earlier, numbers=(*earlier.numbers, index)) if earlier else own
        return own

    def evaluable(self, jobs: Sequence[EvaluationJob]) -> list[EvaluationJob]:
        """Return the evaluations that can be: of sets that are there, of networks not known to diverge on them."""
        kept = [job for job in jobs if self._has_set(job) and self._has_expert(job)]
        known = [(job, index) for job in unfinished(kept) for index in job.indices if self._known(job, index)]
        for failure in dict.fromkeys(self._sets[_cell(job)] for job, _ in known):
            self._sink.say(
                f"{failure.set_name}: {failure.what}. The same settings fail in the same way, so they are not tried "
                f"again; {failure.advice}"
            )
        hopeless = {job.row(index) for job, index in known}
        left = [(job, tuple(index for index in job.indices if job.row(index) not in hopeless)) for job in kept]
        return [replace(job, indices=indices) for job, indices in left if indices]

    def _has_set(self, job: EvaluationJob) -> bool:
        return job.source in REAL_SETS or job.set_name not in self._methods

    def _has_expert(self, job: EvaluationJob) -> bool:
        """Return whether the first expert is there where the set is chosen with it."""
        if not self._methods or job.source not in NEEDS_EXPERT or job.buffer.has(0):
            return True
        for name, failure in self._methods.items():
            if _matches(self._jobs[name], job.buffer):
                self._sets[job.set_name, "", ""] = replace(failure, set_name=job.set_name)
        return False

    def _known(self, job: EvaluationJob, index: int) -> bool:
        """Take up what is known of a network that diverged in an earlier command."""
        entry = journal_entry(job, index)
        if entry is None or entry.get("versions") != self._versions:
            return False
        try:
            self._add_network(job, index, Failure.of_row(entry["failure"]))
        except (KeyError, TypeError):
            return False
        return True

    def conclude(self, table: Sequence[Mapping[str, Any]]) -> None:
        """Record methods on whose set no network learned anything: their settings may change like any failed one's."""
        evaluated = {row["set"] for row in table}
        for (name, _, _), failure in self._sets.items():
            job = self._jobs.get(name)
            if job is not None and failure.lasting and name not in evaluated:
                self._record(job, failure, failure.reason)

    def rows(self, order: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return the failures as objects of ``results.json``, sets in an order."""
        places = {name: place for place, name in reversed(list(enumerate(order)))}
        found = [*self._methods.values(), *self._sets.values()]
        return [one.row() for one in sorted(found, key=lambda failure: places.get(failure.set_name, -1))]

    def _end_bars(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._sink.update(Update(key, 0, 0, "failed", failed=True))


def _matches(job: DistillJob, buffer: Buffer) -> bool:
    """Return whether a distillation matches the experts of a buffer."""
    return job.buffer is not None and job.buffer.folder == buffer.folder


def concerns_the_run(error: AstRayError) -> bool:
    """Return whether an error of one job would meet every other one too."""
    return isinstance(error, ConfigError | DataError | ResourceError) and not isinstance(error, WorkerLostError)


def forget(record: FailureRecord, job: DistillJob) -> None:
    """Let a method be tried again: its record goes, and what it did under other settings."""
    directory = job.directory
    if record.method != fingerprint(job.identity) and not finished(job):
        directory.remove(directory.outcome)  # of a set that no network could learn from
        directory.remove(directory.checkpoint)
        board = Folder(Path(job.tensorboard))
        for events in board.list(EVENTS):
            board.remove(events)
    directory.remove(directory.failure)


def _failure(name: str, stage: Stage, error: AstRayError) -> Failure:
    return Failure(
        set_name=name,
        stage=stage,
        error=type(error).__name__,
        reason=error.reason.splitlines()[0] if error.reason else type(error).__name__,
        advice=error.advice,
        lasting=isinstance(error, DivergenceError),
        iteration=error.iteration,
    )


def _told(failure: Failure) -> str:
    advice = f"; {failure.advice}" if failure.advice else ""
    return f"{failure.set_name}: {failure.what}{advice}. The rest goes on"


def _cell(job: EvaluationJob) -> tuple[str, str, str]:
    return job.set_name, job.label, job.protocol
