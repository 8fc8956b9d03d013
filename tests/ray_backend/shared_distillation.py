"""A distillation of three segments for teams of two, and a stage that witnesses who took part and who was killed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from ast_ray.config import Config, fingerprint
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.distillation.team import Team
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.checkpoint import read_checkpoint
from ast_ray.telemetry.progress import ProgressSink
from tests.tiny import tiny_plan

SHARED = {
    "distill__segments": 3,
    "distill__iterations": 8,
    "distill__checkpoint_every": 2,
    "distill__validate_every": 4,
}


def job_in(config: Config, path: Path, serial: Plan) -> DistillJob:
    """A distillation in its own folder over the serial run's experts."""
    experts = serial.buffer("ast").folder
    shutil.copytree(experts, path / "experts" / experts.name)
    return tiny_plan(config, path).distill_job("ast")


class Witness:
    """Distils, leaves a trace per member, and kills the process of one member at an iteration, once."""

    def __init__(self, folder: Path, *, rank: int = -1, iteration: int = 0) -> None:
        self.folder, self.rank, self.iteration = folder, rank, iteration

    def __call__(self, job: DistillJob, sink: ProgressSink, team: Team) -> object:
        flag = self.folder / "killed"
        found = read_checkpoint(job.directory.checkpoint, fingerprint(job.identity))
        (self.folder / f"member-{team.rank}-of-{team.size}-{os.getpid()}").write_text(
            str(found.values["iteration"] if found else 0)
        )
        if team.rank == self.rank and not flag.exists():
            real = team.match

            def match(problem: object, state: object, draws: object) -> object:
                if state.iteration + 1 == self.iteration:  # type: ignore[attr-defined]
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(problem, state, draws)  # type: ignore[arg-type]

            team.match = match  # type: ignore[method-assign,assignment]
        return distill(job, sink, team)


def members_in(folder: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in folder.glob("member-*"))
