"""Every path inside a run directory, spelled once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ast_ray.errors import StoreError
from ast_ray.storage.folder import Folder

_DIGITS = 16


def moments(snapshots: Path) -> dict[int, Path]:
    """Snapshots in a folder by iteration, fetched or not; files of other names are none."""
    found = {}
    for path in Folder(snapshots).list("iteration-*.png"):
        number = path.stem.removeprefix("iteration-")
        if number.isascii() and number.isdigit() and len(number) < _DIGITS:
            found[int(number)] = path
    return found


@dataclass(frozen=True)
class MethodDirectory(Folder):
    """The files of one distillation, under ``RUN/distill/<method>``."""

    @property
    def checkpoint(self) -> Path:
        """The whole state of a running distillation."""
        return self.path / "checkpoint.safetensors"

    @property
    def synthetic(self) -> Path:
        """The result: best by validation accuracy."""
        return self.path / "synthetic.safetensors"

    @property
    def last(self) -> Path:
        """The set after the last iteration."""
        return self.path / "last.safetensors"

    @property
    def initial(self) -> Path:
        """The set before the first iteration."""
        return self.path / "initial.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON object per logged iteration."""
        return self.path / "metrics.jsonl"

    @property
    def picture(self) -> Path:
        """PNG grid of the result, a row per class."""
        return self.path / "synthetic.png"

    @property
    def snapshots(self) -> Path:
        """The images along the way, one PNG sheet per moment: a row per class, no gaps."""
        return self.path / "snapshots"

    @property
    def outcome(self) -> Path:
        """Written last: with the sets it names whole, the distillation is finished (`telemetry.outcome`)."""
        return self.path / "outcome.json"

    @property
    def failure(self) -> Path:
        """The reason for a method's failure, and its settings; gone once it is tried again."""
        return self.path / "failure.json"


@dataclass(frozen=True)
class EvaluationDirectory(Folder):
    """Rows: the journal, a JSON file per network, and all of them in one Parquet file."""

    @property
    def lock(self) -> Path:
        """Held by the evaluation that writes here; in a run directory that is the run's."""
        run = RunDirectory(self.path.parent)
        return run.lock if run.evaluation == self and run.config.exists() else self.path / ".lock"

    @property
    def rows(self) -> Path:
        """Every row, gathered from the journal."""
        return self.path / "rows.parquet"

    @property
    def results(self) -> Path:
        """The table of the last `ast-ray evaluate`; a run's is in the run directory itself."""
        return self.path / "results.json"

    def row(self, set_name: str, network: str, protocol: str, index: int) -> Path:
        """One evaluated network."""
        return self.path / f"{set_name}-{network}-{protocol}-{index}.json"


@dataclass(frozen=True)
class RunDirectory(Folder):
    """A run directory and what it holds."""

    @property
    def lock(self) -> Path:
        """Held by the run that works here."""
        return self.path / ".lock"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, device, commands, fingerprints."""
        return self.path / "manifest.json"

    @property
    def experts(self) -> Path:
        """Buffers, one folder per fingerprint."""
        return self.path / "experts"

    def expert_files(self) -> list[Path]:
        """Return the experts of every buffer, fetched or not, sorted by buffer."""
        return Folder(self.experts).list("*/expert-*.parquet")

    @property
    def results(self) -> Path:
        """The final table."""
        return self.path / "results.json"

    @property
    def features(self) -> Path:
        """Features of real, starting and distilled images on two axes, for the report."""
        return self.path / "features.json"

    @property
    def report(self) -> Path:
        """The page made by ``ast-ray report``."""
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    def pull_records(self) -> None:
        """`pull` what a run wrote, but for experts and events, which are fetched one by one."""
        self.pull(without=("experts", "tensorboard"))

    def require_run(self) -> None:
        """`pull_records`, and check that they are a run's.

        Raises:
            StoreError: not a run directory, or a damaged file; ResourceError: no answer.
        """
        self.pull_records()
        if not self.config.exists():
            raise StoreError(f"{self}: not a run directory (no {self.config.name} in it)")

    def method(self, name: str) -> MethodDirectory:
        """The folder of one distillation method."""
        return MethodDirectory(self.path / "distill" / name)

    @property
    def evaluation(self) -> EvaluationDirectory:
        """Rows of evaluated networks."""
        return EvaluationDirectory(self.path / "evaluation")

    def row(self, set_name: str, network: str, protocol: str, index: int) -> Path:
        """One evaluated network."""
        return self.evaluation.row(set_name, network, protocol, index)
