"""The main job as a whole: experts, distillation, evaluation, table. What runs, never where (see `executor`)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ast_ray.config.identity import expert_identity, fingerprint, method_identity
from ast_ray.config.loading import to_yaml
from ast_ray.config.methods import METHODS, matched_methods, method_info
from ast_ray.config.presets import method_config
from ast_ray.config.settings import Config
from ast_ray.data.real import RealData
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import distill, finished
from ast_ray.stages.distillation.team import ALONE, Team
from ast_ray.stages.engine import run_memory
from ast_ray.stages.evaluation.evaluate import (
    EvaluationJob,
    collapse_warning,
    evaluate,
    finished_rows,
    networks_in,
    unfinished,
)
from ast_ray.stages.evaluation.jobs import jobs_of_set
from ast_ray.stages.evaluation.rows import publish_rows, real_set_identity, with_scored
from ast_ray.stages.evaluation.summary import summarize
from ast_ray.stages.evaluation.training_sets import NEEDS_EXPERT, REAL_SETS
from ast_ray.stages.evaluation.verdicts import run_verdicts
from ast_ray.stages.executor import Executor
from ast_ray.stages.experts.groups import grouped
from ast_ray.stages.experts.train import ExpertJob, train_experts
from ast_ray.stages.run.failures import Failures
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.expert_buffer import Buffer, ExpertSummary
from ast_ray.storage.folder import Folder
from ast_ray.storage.records.results import whole_results
from ast_ray.storage.run_directory import EvaluationDirectory, RunDirectory
from ast_ray.telemetry.outcome import read_outcome
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.tensorboard import log_evaluation, log_overview

PUBLISH_INTERVAL = 5.0  # seconds between rewrites of rows.parquet while rows come in
PUBLISH_SHARE = 20.0  # but at least so many times as long as a rewrite takes: each reads all rows there are


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
        store = Folder.at(config.compute.store).path if config.compute.store else self.directory.experts
        count = config.expert.count if matched_methods(self.config) else 1  # real images are chosen with the first one
        return Buffer(self.buffer_folder or store / fingerprint(identity), identity, count)

    def distill_job(self, method: str) -> DistillJob:
        """The distillation of one method."""
        config = self.method(method)
        return DistillJob(
            method,
            config,
            self.buffer(method) if method_info(method).needs_experts else None,
            method_identity(config, self.data.data_id, method),
            str(self.directory.method(method).path),
            str(self.directory.tensorboard / "distill" / method),
        )


def expert_methods(config: Config) -> list[str]:
    """Return the methods whose experts a run needs.

    Real images are chosen with features of an expert: AST's first one, where no method matches any.
    """
    if found := matched_methods(config):
        return found
    return ["ast"] if any(name in NEEDS_EXPERT for name in config.run.baselines) else []


def open_failures(plan: Plan, sink: ProgressSink, distilled: Collection[str] = ()) -> Failures:
    """Take up what failed before in the run; ``distilled`` are the methods to be distilled now."""
    methods = dict.fromkeys((*plan.config.run.methods, *expert_methods(plan.config)))
    failures = Failures({method: plan.distill_job(method) for method in methods}, sink)
    failures.take_up(distilled)
    return failures


def expert_jobs(plan: Plan, methods: Iterable[str], failures: Failures | None = None) -> list[ExpertJob]:
    """One job per expert that is missing, of all methods together, but for those known to diverge."""
    jobs: dict[Path, ExpertJob] = {}
    for method in methods:
        buffer = plan.buffer(method)
        buffer.prepare()
        hopeless = failures.failed_experts(method) if failures else ()
        for expert_id in sorted(set(buffer.missing()).difference(hopeless)):
            jobs.setdefault(
                buffer.path(expert_id),
                ExpertJob(
                    plan.method(method),
                    buffer,
                    (expert_id,),
                    str(plan.directory.tensorboard / "experts" / method),
                    f"{method} expert",
                    run_memory(plan.method(method), plan.data).expert,
                ),
            )
    return list(jobs.values())


def work_on(job: ExpertJob | DistillJob, sink: ProgressSink, team: Team = ALONE) -> str:
    """Train experts or distil; return the folder that has more experts now, or nothing."""
    if isinstance(job, DistillJob):
        distill(job, sink, team)
        return ""
    train_experts(job, sink)
    return str(job.buffer.folder)


def train_and_distill(
    plan: Plan,
    trained: Iterable[str],
    distilled: Iterable[str],
    executor: Executor,
    failures: Failures | None = None,
) -> dict[str, list[ExpertSummary]]:
    """Train what is missing and distil what has no outcome, each method as soon as its own experts are complete.

    ``failures`` takes what fails; without it the first failure is raised once the others are through. Returns each
    trained method's experts.
    """
    names = list(trained)
    jobs = grouped(expert_jobs(plan, names, failures), plan.data)
    absent = Counter(str(job.buffer.folder) for job in jobs)
    hopeful = [method for method in distilled if failures is None or not failures.includes(method)]
    waiting = [job for method in hopeful if not finished(job := plan.distill_job(method))]
    if waiting:
        log_overview(plan.directory.tensorboard / "overview", to_yaml(plan.config))

    def possible() -> list[DistillJob]:
        ready, rest = list[DistillJob](), list[DistillJob]()
        for job in waiting:
            (rest if job.buffer is not None and absent[str(job.buffer.folder)] else ready).append(job)
        waiting[:] = rest
        return ready

    def following(folder: str) -> list[DistillJob]:
        absent[folder] -= 1
        return possible()

    work: list[ExpertJob | DistillJob] = [*possible(), *jobs]
    for _ in executor.run(work_on, work, following=following, failed=failures):
        pass
    return {method: plan.buffer(method).summaries() for method in names}


def train_buffers(
    plan: Plan, methods: Iterable[str], executor: Executor, failures: Failures | None = None
) -> dict[str, list[ExpertSummary]]:
    """Train every expert that is missing, of all methods together; return each method's experts."""
    return train_and_distill(plan, methods, (), executor, failures)


def distill_methods(plan: Plan, methods: Iterable[str], executor: Executor) -> None:
    """Run every distillation that has not published its outcome yet."""
    train_and_distill(plan, (), methods, executor)


def evaluation_jobs(plan: Plan) -> list[EvaluationJob]:
    """The jobs of every baseline and method, in the order of the table."""
    return [job for name, source, method in evaluated_sets(plan) for job in _jobs(plan, name, source, method)]


def evaluated_sets(plan: Plan) -> list[tuple[str, str, str]]:
    """Name, source and method of every set in the table; real sets go by the settings of the first with experts."""
    config = plan.config
    first = next(iter(matched_methods(config)), "ast")
    real = with_scored(config.run.baselines, config)
    methods = [method for method in reversed(METHODS) if method in config.run.methods]
    return [
        *((name, name, first) for name in real if name != "full"),
        *((method, str(plan.directory.method(method).synthetic), method) for method in methods),
        *((name, name, first) for name in real if name == "full"),
    ]


def set_identity(plan: Plan, name: str, source: str, method: str) -> dict[str, Any]:
    """Return what decides a set of the table."""
    config, data_id = plan.method(method), plan.data.data_id
    if source in REAL_SETS:
        return real_set_identity(source, config, plan.data)
    return {"method": name, "identity": method_identity(config, data_id, method)}


def _jobs(plan: Plan, name: str, source: str, method: str) -> list[EvaluationJob]:
    return jobs_of_set(
        plan.method(method),
        plan.data,
        plan.directory.evaluation,
        plan.buffer(method),
        name=name,
        source=source,
        what=set_identity(plan, name, source, method),
        share_gpu=True,
    )


def evaluated(
    jobs: Sequence[EvaluationJob], executor: Executor, failures: Failures | None = None
) -> Iterator[dict[str, Any]]:
    """Evaluate networks and yield their rows as they finish."""
    for rows in executor.run(evaluate, jobs, long_lived=False, failed=failures):
        yield from rows


def evaluate_sets(
    jobs: Sequence[EvaluationJob], executor: Executor, sink: ProgressSink, failures: Failures | None = None
) -> list[dict[str, Any]]:
    """Evaluate what has no row yet and return the table of all rows.

    ``failures`` takes what fails; without it the first failure is raised once the others are through.
    """
    folders = {Path(job.folder) for job in jobs}
    for folder in folders:
        Folder(folder).pull()
    todo, total = unfinished(jobs), networks_in(jobs)
    done = total - networks_in(todo)
    published = time.monotonic()
    pause = PUBLISH_INTERVAL
    try:
        for row in evaluated(todo, executor, failures):
            done += 1
            note = f"{row['set']} on {row['network']} {row['accuracy']:.1%}"
            sink.update(Update("evaluate", done, total, note))
            if warning := collapse_warning(row):
                sink.say(warning)
            if (began := time.monotonic()) - published > pause:
                _publish(folders)
                published = time.monotonic()
                pause = max(PUBLISH_INTERVAL, PUBLISH_SHARE * (published - began))
        if done < total:
            sink.update(Update("evaluate", total, total, f"{total - done} failed"))
    finally:
        if todo or not all(EvaluationDirectory(folder).rows.exists() for folder in folders):
            _publish(folders)
    return summarize(finished_rows(jobs))


def _publish(folders: Iterable[Path]) -> None:
    for folder in folders:
        Folder(folder).pull()
        if folder.exists():
            publish_rows(folder)


def mean_expert(rows: Sequence[ExpertSummary]) -> dict[str, float]:
    """Count, mean Avg_Var and mean validation accuracy of a buffer's experts."""
    return {
        "count": len(rows),
        "avg_var": sum(row.avg_var for row in rows) / len(rows),
        "validation_accuracy": sum(row.accuracy for row in rows) / len(rows),
    }


def run_all(plan: Plan, executor: Executor, sink: ProgressSink) -> dict[str, Any]:
    """Experts, distillation, evaluation; write and return the results, with what failed and why."""
    config = plan.config
    failures = open_failures(plan, sink, config.run.methods)
    experts = train_and_distill(plan, expert_methods(config), config.run.methods, executor, failures)
    jobs = evaluation_jobs(plan)
    table = evaluate_sets(failures.evaluable(jobs), executor, sink, failures)
    failures.conclude(table)
    results = {
        "experts": {method: mean_expert(rows) for method, rows in experts.items() if rows},
        "rows": table,
        "verdicts": run_verdicts(table, config, len(plan.data.test_labels)),
        "failed": failures.rows([job.set_name for job in jobs]),
    }
    earlier = whole_results(plan.directory.results)
    if earlier is None or list(earlier["rows"]) != table:
        log_evaluation(plan.directory.tensorboard / "evaluation", table)
    write_document(plan.directory.results, results)
    return results


def distill_outcomes(plan: Plan, methods: Iterable[str]) -> dict[str, Any]:
    """Return the outcome of each finished distillation, with the path of its set."""
    outcomes = {}
    for method in methods:
        directory = plan.directory.method(method)
        outcome = read_outcome(directory)
        if outcome is not None:
            outcomes[method] = {**outcome, "path": directory.shown(directory.synthetic)}
    return outcomes
