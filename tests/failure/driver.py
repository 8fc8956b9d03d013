"""A driver to be killed: ``python -m tests.failure.driver ADDRESS RUN NOTES ROOT`` trains an expert on a cluster."""

from __future__ import annotations

import sys
from pathlib import Path


def main(address: str, run: str, notes: str, root: str) -> None:
    """Train until someone kills this process."""
    import ray

    from ast_ray.ray_backend.executor import RayExecutor
    from ast_ray.ray_backend.session import Capacity
    from ast_ray.stages.run.pipeline import expert_jobs
    from tests.failure.notes import Notes
    from tests.failure.watched import WatchedExpert
    from tests.tiny import Recorder, tiny_config, tiny_plan

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    kept = {"expert.count": 1, "run.methods": "ast", "run.baselines": "random", "compute.checkpoint_seconds": 0}
    plan = tiny_plan(tiny_config(Path(root), kept), Path(run))
    executor = RayExecutor(Capacity(1, 0, 1), Recorder())
    list(executor.run(WatchedExpert(Notes(notes), at=2), expert_jobs(plan, ["ast"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
