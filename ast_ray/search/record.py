"""The record of a trial: overrides, status, reason, rungs, cost. One JSON file, which table and resume trust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from ast_ray.search.directory import TrialDirectory
from ast_ray.storage.containers.documents import read_document, write_document
from ast_ray.storage.typed import Count, Number, Share

RUNNING = "running"
FINISHED = "finished"
STOPPED = "stopped"
DIVERGED = "diverged"
FAILED = "failed"
INVALID = "invalid"
FINAL = (FINISHED, STOPPED, DIVERGED, FAILED, INVALID)
BROKEN = (DIVERGED, FAILED, INVALID)


class _Rung(TypedDict):
    iteration: Count
    validation_accuracy: Share
    best_validation_accuracy: Share
    relative_loss: Number
    student_lr: Number
    status: str


class _Record(TypedDict):
    """The file ``trial.json``; what it need not say is empty or 0."""

    fingerprint: str
    experts: str
    overrides: dict[str, Any]
    rungs: list[_Rung]
    status: NotRequired[Literal["running", "finished", "stopped", "diverged", "failed", "invalid"]]
    reason: NotRequired[str]
    trace: NotRequired[str]
    begun: NotRequired[str]
    ended: NotRequired[str]
    seconds: NotRequired[Number]
    expert_seconds: NotRequired[Number]
    waited_seconds: NotRequired[Number]


@dataclass(frozen=True)
class Rung:
    """A validation: iterations done, accuracy now and at best, mean matching loss, alpha; and how the trial stands."""

    iteration: int
    validation_accuracy: float
    best_validation_accuracy: float
    relative_loss: float
    student_lr: float
    status: str = RUNNING


@dataclass
class TrialRecord:
    """The file ``trial.json``."""

    directory: TrialDirectory
    fingerprint: str
    experts: str
    overrides: dict[str, Any]
    status: str = RUNNING
    reason: str = ""
    trace: str = ""
    begun: str = ""
    ended: str = ""
    seconds: float = 0.0
    expert_seconds: float = 0.0
    waited_seconds: float = 0.0
    rungs: list[Rung] = field(default_factory=list)

    @classmethod
    def open(
        cls, directory: TrialDirectory, fingerprint: str, overrides: Mapping[str, Any], experts: str
    ) -> TrialRecord:
        """The record on disk, or a new one."""
        found = cls.read(directory)
        return found or cls(directory, fingerprint, experts, dict(overrides), begun=_now())

    @classmethod
    def read(cls, directory: TrialDirectory) -> TrialRecord | None:
        """The record on disk, if any.

        Raises:
            StoreError: the file is damaged.
        """
        found = read_document(directory.record, _Record, hint="delete it and the trial goes on")
        if found is None:
            return None
        known = {item.name for item in fields(cls)} - {"directory", "rungs"}
        values: dict[str, Any] = {name: value for name, value in found.items() if name in known}
        rungs = [Rung(**{item.name: rung[item.name] for item in fields(Rung)}) for rung in found["rungs"]]  # type: ignore[literal-required]
        return cls(directory, rungs=rungs, **values)

    def save(self) -> None:
        """Write the file."""
        values = {name: value for name, value in vars(self).items() if name not in ("directory", "rungs")}
        write_document(self.directory.record, {**values, "rungs": [asdict(rung) for rung in self.rungs]})

    def end(self, status: str, reason: str = "", trace: str = "") -> None:
        """Close the record."""
        self.status = status
        self.reason = reason
        self.trace = trace
        self.ended = _now()
        self.save()

    def last(self) -> Rung:
        """The last rung with the status; a trial that broke counts as accuracy 0 from here on."""
        last = self.rungs[-1] if self.rungs else Rung(0, 0.0, 0.0, 0.0, 0.0)
        if self.status in BROKEN:
            return replace(last, validation_accuracy=0.0, best_validation_accuracy=0.0, status=self.status)
        return replace(last, status=self.status)

    def replay(self) -> Iterator[Rung]:
        """All rungs again, the last one with the status."""
        if self.status in BROKEN:
            yield from self.rungs
        else:
            yield from self.rungs[:-1]
        yield self.last()

    def objective(self, name: str) -> float:
        """The value trials are ranked by; 0 for a trial that broke."""
        return float(getattr(self.last(), name))


def read_records(trials: Path) -> list[TrialRecord]:
    """All records of a search in the order the trials began."""
    folders = [TrialDirectory(path) for path in sorted(trials.glob("*")) if path.is_dir()]
    records = [record for folder in folders if (record := TrialRecord.read(folder)) is not None]
    return sorted(records, key=lambda record: (record.begun, record.fingerprint))


def stop_record(directory: TrialDirectory, status: str, reason: str) -> TrialRecord | None:
    """End a trial from outside unless it ended by itself; return the record."""
    record = TrialRecord.read(directory)
    if record is not None and record.status not in FINAL:
        record.end(status, reason)
    return record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
