"""A failure: which method or set came to nothing, in which stage, why, and what to change.

A method's is kept beside it in ``failure.json`` with the fingerprints of the settings it failed under. Written by
`stages.run.failures`; read by everything that describes a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypedDict

from ast_ray.config.schema import schema
from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import read_document, write_document
from ast_ray.storage.run_directory import MethodDirectory, RunDirectory

Stage = Literal["experts", "distillation", "evaluation"]


@dataclass(frozen=True)
class Failure:
    """A method or set that did not come to what was asked for.

    ``set_name`` is the name its rows have or would have. ``lasting`` says that the same settings fail in the same way
    again. ``numbers`` are the experts or networks that failed, out of ``count``; ``network`` and ``protocol`` are those
    of an evaluation.
    """

    set_name: str
    stage: Stage
    error: str
    reason: str
    advice: str
    lasting: bool
    iteration: int | None = None
    numbers: tuple[int, ...] = ()
    count: int = 0
    network: str = ""
    protocol: str = ""

    def row(self) -> dict[str, Any]:
        """Return the failure as an object of ``results.json``."""
        values = asdict(self)
        return {"set": values.pop("set_name"), **values, "numbers": list(self.numbers)}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Failure:
        """Return the failure that `row` wrote.

        Raises:
            KeyError: something is missing.
        """
        values = {item.name: row[item.name] for item in fields(cls) if item.name != "set_name"}
        return cls(**{**values, "set_name": row["set"], "numbers": tuple(row["numbers"])})

    @property
    def ends_method(self) -> bool:
        """True where a whole method failed, and not a set of real images or some of its networks."""
        return self.set_name in schema()["run.methods"].choices and (
            self.stage != "evaluation" or len(self.numbers) == self.count
        )

    @property
    def what(self) -> str:
        """The failure in words, without the method's name: ``failed, iteration 2: alpha would become -0.003``."""
        return f"failed, {self._where}: {self.reason}"

    @property
    def _where(self) -> str:
        if self.stage == "experts":
            return "experts" if len(self.numbers) < 2 else f"{len(self.numbers)} of {self.count} experts"
        if self.stage == "evaluation":
            protocol = "" if self.protocol == "strict" else f" ({self.protocol})"
            return f"{len(self.numbers)} of {self.count} {self.network} networks{protocol}"
        return "distillation" if self.iteration is None else f"iteration {self.iteration}"


@dataclass(frozen=True)
class FailureRecord:
    """A method's failure and the settings it belongs to: fingerprints of its experts and of its set, and versions.

    ``message`` is the error's whole text.
    """

    failure: Failure
    message: str
    experts: str
    method: str
    versions: Mapping[str, str] = field(default_factory=dict)

    def write(self, directory: MethodDirectory) -> None:
        """Keep the record beside the method."""
        made_with = {"experts": self.experts, "method": self.method, "versions": dict(self.versions)}
        write_document(directory.failure, {**self.failure.row(), "message": self.message, "made_with": made_with})


class _MadeWith(TypedDict):
    experts: str
    method: str
    versions: dict[str, str]


class _Record(TypedDict):
    """The file ``failure.json``, beside the failure's own names."""

    message: str
    made_with: _MadeWith


def read_failure(directory: MethodDirectory) -> FailureRecord | None:
    """Return the record of a method that failed; None where there is none or it cannot be read."""
    if not directory.fetch(directory.failure):
        return None
    try:
        found = read_document(directory.failure, _Record)
        if found is None:
            return None
        made_with = found["made_with"]
        return FailureRecord(
            failure=Failure.of_row(found),
            message=found["message"],
            experts=made_with["experts"],
            method=made_with["method"],
            versions=made_with["versions"],
        )
    except (StoreError, KeyError, TypeError):
        return None


def run_failures(directory: RunDirectory, methods: Sequence[str], listed: Sequence[Mapping[str, Any]]) -> list[Failure]:
    """Return what failed in a run: methods by their own records, sets and networks as the last results ``listed`` them.

    A method that is tried again, or was finished since, has no record any more.
    """
    records = [read_failure(directory.method(method)) for method in methods]
    found = [record.failure for record in records if record is not None and record.failure.stage != "evaluation"]
    for row in listed:
        with suppress(KeyError, TypeError):
            failure = Failure.of_row(row)
            if failure.stage == "evaluation" or failure.set_name not in methods:
                found.append(failure)
    return found
