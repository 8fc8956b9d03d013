"""The main job as a whole: experts, distillation, evaluation, table. What runs, never where (see `executor`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ast_ray.config.fingerprint import expert_identity, fingerprint, method_identity
from ast_ray.config.presets import method_config
from ast_ray.config.settings import Config
from ast_ray.data.real import RealData
from ast_ray.stages.distill import DistillJob, distill, finished
from ast_ray.stages.evaluate import EvaluationJob, evaluate_network, finished_row, row_settings
from ast_ray.stages.executor import Executor
from ast_ray.stages.experts import ExpertJob, train_one_expert
from ast_ray.stages.results import summarize
from ast_ray.store.atomic import write_json
from ast_ray.store.buffer import Buffer, ExpertSummary
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.run_directory import RunDirectory


@dataclass(frozen=True)
class Plan:
    """A run: its settings, the images, and its directory.

    ``buffer_folder`` overrides where experts of every method lie (an existing buffer handed over by name).
    """

    config: Config
    data: RealData
    directory: RunDirectory
    buffer_folder: Path | None = None

    def method(self, name: str) -> Config:
        """Settings of one method."""
        return method_config(self.config, name)

    def buffer(self, method: str) -> Buffer:
        """The buffer a method matches; methods with the same expert settings share one."""
        config = self.method(method)
        identity = expert_identity(config, self.data.data_id)
        store = Path(config.compute.store).expanduser().resolve() if config.compute.store else self.directory.experts
        return Buffer(self.buffer_folder or store / fingerprint(identity), identity, config.expert.count)

    def distill_job(self, method: str) -> DistillJob:
        """The distillation of one method."""
        config, buffer = self.method(method), self.buffer(method)
        return DistillJob(
            method,
            config,
            str(buffer.folder),
            buffer.identity,
            method_identity(config, self.data.data_id),
            str(self.directory.method(method).path),
            str(self.directory.tensorboard / "distill" / method),
        )


def expert_methods(config: Config) -> list[str]:
    """Methods whose experts a run needs; representative images look through AST's first one."""
    if config.run.methods:
        return list(config.run.methods)
    return ["ast"] if "representative" in config.run.baselines else []


def expert_jobs(plan: Plan, methods: Iterable[str]) -> list[ExpertJob]:
    """One job per expert that is missing, of all methods together."""
    jobs: dict[Path, ExpertJob] = {}
    for method in methods:
        buffer = plan.buffer(method)
        buffer.prepare()
        for expert_id in buffer.missing():
            board = plan.directory.tensorboard / "experts" / f"{method}-{expert_id:05d}"
            jobs.setdefault(
                buffer.path(expert_id),
                ExpertJob(
                    plan.method(method),
                    str(buffer.folder),
                    buffer.identity,
                    expert_id,
                    str(board),
                    f"{method} expert",
                ),
            )
    return list(jobs.values())


def train_experts(plan: Plan, methods: Iterable[str], executor: Executor) -> dict[str, list[ExpertSummary]]:
    """Train every expert that is missing, of all methods together; return each method's experts."""
    names = list(methods)
    for _ in executor.run(train_one_expert, expert_jobs(plan, names)):
        pass
    return {method: plan.buffer(method).summaries() for method in names}


def distill_methods(plan: Plan, methods: Iterable[str], executor: Executor) -> None:
    """Run every distillation that has not published its outcome yet."""
    jobs = [job for method in methods if not finished(job := plan.distill_job(method))]
    for _ in executor.run(distill, jobs):
        pass


def evaluation_jobs(plan: Plan) -> list[EvaluationJob]:
    """One job per network of every baseline and method, in the order of the table."""
    config, jobs = plan.config, []
    first = config.run.methods[0] if config.run.methods else "ast"
    for baseline in config.run.baselines:
        networks = config.evaluate.networks
        if baseline == "full":
            continue
        jobs += [_job(plan, baseline, baseline, first, index) for index in range(networks)]
    for method in ("mtt", "ast"):
        if method in config.run.methods:
            path = str(plan.directory.method(method).synthetic)
            jobs += [_job(plan, method, path, method, index) for index in range(config.evaluate.networks)]
    if "full" in config.run.baselines:
        networks = config.evaluate.full_networks or config.evaluate.networks
        jobs += [_job(plan, "full", "full", first, index) for index in range(networks)]
    return jobs


def _job(plan: Plan, set_name: str, source: str, method: str, index: int) -> EvaluationJob:
    config, buffer = plan.method(method), plan.buffer(method)
    identity = method_identity(config, plan.data.data_id)
    token = fingerprint({"set": set_name, "identity": identity, "evaluate": row_settings(config)})
    row = plan.directory.row(set_name, config.network.name, "strict", index)
    return EvaluationJob(set_name, source, config, index, str(row), token, str(buffer.folder), buffer.identity)


def evaluate_sets(jobs: Sequence[EvaluationJob], executor: Executor, sink: ProgressSink) -> list[dict[str, Any]]:
    """Evaluate what has no row yet and return the table of all rows."""
    todo = [job for job in jobs if finished_row(job) is None]
    done = len(jobs) - len(todo)
    for row in executor.run(evaluate_network, todo, long_lived=False):
        done += 1
        sink.update(Update("evaluate", done, len(jobs), f"{row['set']} {row['accuracy']:.1%}"))
    return summarize(found for job in jobs if (found := finished_row(job)) is not None)


def mean_expert(rows: Sequence[ExpertSummary]) -> dict[str, float]:
    """Count, mean Avg_Var and mean validation accuracy of a buffer's experts."""
    return {
        "count": len(rows),
        "avg_var": sum(row.avg_var for row in rows) / len(rows),
        "validation_accuracy": sum(row.accuracy for row in rows) / len(rows),
    }


def run_all(plan: Plan, executor: Executor, sink: ProgressSink) -> dict[str, Any]:
    """Experts, distillation, evaluation; write and return the results."""
    config = plan.config
    experts = train_experts(plan, expert_methods(config), executor)
    distill_methods(plan, config.run.methods, executor)
    table = evaluate_sets(evaluation_jobs(plan), executor, sink)
    results = {
        "experts": {method: mean_expert(rows) for method, rows in experts.items()},
        "rows": table,
    }
    write_json(plan.directory.results, results)
    return results


def distill_outcomes(plan: Plan, methods: Iterable[str]) -> dict[str, Any]:
    """What each finished distillation published, with the path of its set."""
    outcomes = {}
    for method in methods:
        directory = plan.directory.method(method)
        outcome = json.loads(directory.outcome.read_text(encoding="utf-8"))
        outcomes[method] = {**outcome, "path": str(directory.synthetic)}
    return outcomes
