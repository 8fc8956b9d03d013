"""Every path inside the directory of a search, spelled once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ast_ray.storage.folder import Folder
from ast_ray.storage.run_directory import MethodDirectory


@dataclass(frozen=True)
class TrialDirectory(Folder):
    """The files of one configuration, under ``SEARCH/trials/<fingerprint>``."""

    @property
    def record(self) -> Path:
        """Overrides, status, reason and cost: the truth about a trial."""
        return self.path / "trial.json"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the trial."""
        return self.path / ".lock"

    @property
    def work(self) -> MethodDirectory:
        """The distillation: checkpoint, metrics, sets."""
        return MethodDirectory(self.path)


@dataclass(frozen=True)
class SearchDirectory(Folder):
    """The directory of a search and what it holds."""

    @property
    def config(self) -> Path:
        """The settings that trials start from, and those of the search."""
        return self.path / "config.yaml"

    @property
    def space(self) -> Path:
        """A copy of the search space's module; resuming reads this one."""
        return self.path / "space.py"

    @property
    def manifest(self) -> Path:
        """Versions, device, commands."""
        return self.path / "manifest.json"

    @property
    def lock(self) -> Path:
        """Held by the running search."""
        return self.path / ".lock"

    @property
    def trials(self) -> Path:
        """One folder per configuration."""
        return self.path / "trials"

    @property
    def experts(self) -> Path:
        """Buffers, one folder per fingerprint, shared by all trials and the final stage."""
        return self.path / "experts"

    @property
    def expert_log(self) -> Path:
        """One line per expert trained: which buffer, by whom, how long."""
        return self.path / "experts.jsonl"

    @property
    def tune(self) -> Path:
        """Ray Tune's own files; nothing is read back from them."""
        return self.path / "tune"

    @property
    def tensorboard(self) -> Path:
        """Event files, with the HParams page."""
        return self.path / "tensorboard"

    @property
    def table(self) -> Path:
        """All trials, a row each."""
        return self.path / "trials.parquet"

    @property
    def best(self) -> Path:
        """The best configuration, for `ast-ray run --config`."""
        return self.path / "best.yaml"

    @property
    def results(self) -> Path:
        """The results of the search and of its final stage."""
        return self.path / "results.json"

    @property
    def final(self) -> Path:
        """Run directories of the final stage, one per configuration and seed."""
        return self.path / "final"

    def picture(self, name: str) -> Path:
        """A plot: importance, parallel or convergence."""
        return self.path / f"{name}.png"

    def trial(self, fingerprint: str) -> TrialDirectory:
        """The folder of one configuration."""
        return TrialDirectory(self.trials / fingerprint)

    def trial_board(self, fingerprint: str) -> Path:
        """Events of one configuration."""
        return self.tensorboard / "trials" / fingerprint
