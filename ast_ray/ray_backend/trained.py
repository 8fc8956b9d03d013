"""A team held by Ray Train's TorchTrainer: the back end for clusters whose people know Ray Train.

The members do what a team of plain actors does, and start some twenty seconds later. Train's own retries and
checkpoints are not used: a lost worker ends the attempt, and the next one goes on from the distillation's checkpoint.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer

from ast_ray.errors import AstRayError, DivergenceError, WorkerLostError
from ast_ray.ray_backend.team_plan import TeamPlan, team_size
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.team import PATIENCE, ProcessTeam
from ast_ray.telemetry.progress import ProgressSink, Silent

_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # Train's controller looks every 2 s, which shows at the end of a job
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


@dataclass(frozen=True)
class Trained:
    """A job's function, run by the workers of a TorchTrainer; called in an actor without resources of its own."""

    function: Callable[..., Any]
    plan: TeamPlan

    def __call__(self, job: DistillJob, sink: ProgressSink) -> Any:
        """Run ``function(job, sink, team)`` on every worker and return the first one's result.

        Raises:
            AstRayError: of the job; WorkerLostError: a worker is gone.
        """
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        plan, storage = self.plan, job.directory.train
        resources = {"CPU": plan.cpus, **({"GPU": plan.gpus} if plan.gpus else {})}
        trainer = TorchTrainer(
            _work,
            train_loop_config={"function": self.function, "job": job, "sink": sink},
            scaling_config=ScalingConfig(
                num_workers=team_size(plan, ray.cluster_resources()),
                use_gpu=plan.gpus > 0,
                resources_per_worker=resources,
                placement_strategy=plan.strategy,
            ),
            torch_config=TorchConfig(
                backend="nccl" if plan.gpus >= 1 else "gloo", timeout_s=int(PATIENCE.total_seconds())
            ),
            run_config=RunConfig(
                name=f"team-{time.time_ns()}",
                storage_path=str(storage.resolve()),
                failure_config=FailureConfig(max_failures=0),
            ),
        )
        try:
            outcome: Any = trainer.fit()
        except WorkerGroupError as error:
            raise telling(error) from None
        finally:
            shutil.rmtree(storage, ignore_errors=True)
        if isinstance(outcome.return_value, AstRayError):
            raise outcome.return_value
        return outcome.return_value


def _work(config: dict[str, Any]) -> Any:
    """Run the work in each worker. A divergence, which all meet at once, is a result: Train would call it a failure."""
    team = ProcessTeam()
    try:
        return config["function"](config["job"], config["sink"] if team.rank == 0 else Silent(), team)
    except DivergenceError as error:
        return error


def telling(error: WorkerGroupError) -> BaseException:
    """Of several workers' errors the one that says most: of the work, before a loss, before what that did to others."""
    failures = sorted(error.worker_failures.items())
    for _, cause in failures:
        if not isinstance(cause, WorkerLostError) and not _from_ray(cause):
            return cause
    rank, cause = next((found for found in failures if _from_ray(found[1])), failures[0])
    text = (str(cause).strip().splitlines() or ["no reason given"])[0]
    return WorkerLostError(f"worker {rank} of the team: {type(cause).__name__}: {text}")


def _from_ray(error: BaseException) -> bool:
    """Return whether Ray reports a lost process, in place of an error of the work."""
    return type(error).__module__.split(".")[0] == "ray"
