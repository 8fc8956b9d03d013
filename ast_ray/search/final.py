"""The final stage: the best configurations once more, at full length, with seeds the search never saw, on the test set.

The winner of a search is in part the luckiest trial. Here each of the best k, and the settings the search started from,
get fresh experts, fresh distillations and fresh networks. The winner is chosen by their validation accuracy; the test
set gives the number that is reported, and how far the search's own estimate was off.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ast_ray.config.loading import apply_overrides, to_yaml
from ast_ray.config.methods import method_info
from ast_ray.config.settings import Config
from ast_ray.config.text_seal import sealed_text
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.trial import canonicalize
from ast_ray.stages.distillation.loop import distill, finished
from ast_ray.stages.evaluation.evaluate import EvaluationJob, finished_rows, networks_in, unfinished
from ast_ray.stages.executor import Executor
from ast_ray.stages.experts.train import ExpertJob, train_experts
from ast_ray.stages.run.pipeline import Plan, evaluated, evaluation_jobs, expert_jobs
from ast_ray.storage.atomic import write_text
from ast_ray.storage.records.outcome import whole_outcome
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.telemetry.progress import ProgressSink, Update

# Far from the seeds a person types, so that the final stage repeats no run the search or the user has seen.
_FIRST_SEED = 1000


@dataclass(frozen=True)
class Candidate:
    """A configuration of the final stage and what the search thought of it (None: not tried)."""

    name: str
    overrides: Mapping[str, Any]
    estimate: float | None


def full_config(base: Config, overrides: Mapping[str, Any]) -> Config:
    """The configuration a candidate is run with: the search's start with the overrides, at full length."""
    return apply_overrides(base, canonicalize(overrides, base))


def final_stage(
    base: Config,
    data: RealData,
    candidates: Sequence[Candidate],
    directory: SearchDirectory,
    executor: Executor,
    sink: ProgressSink,
) -> list[dict[str, Any]]:
    """Distil and evaluate every candidate with ``tune.final_seeds`` seeds; return one row per candidate, in order."""
    seeds = [_FIRST_SEED + number for number in range(base.tune.final_seeds)]
    plans = {
        (candidate.name, seed): _plan(base, candidate, seed, data, directory)
        for candidate in candidates
        for seed in seeds
    }
    method = base.tune.method
    matched = [method] if method_info(method).needs_experts else []
    experts = [job for plan in plans.values() for job in expert_jobs(plan, matched)]
    unique = {(job.buffer.folder, job.ids): _labelled(job) for job in experts}
    _follow(executor.run(train_experts, list(unique.values())), len(unique), sink, "final experts")
    whole = [key for key, plan in plans.items() if not any(plan.buffer(name).missing() for name in matched)]
    named = {key: plans[key].distill_job(method) for key in whole}
    todo = [dataclasses.replace(job, title=_whose(key)) for key, job in named.items() if not finished(job)]
    _follow(executor.run(distill, todo), len(todo), sink, "final distillations")
    jobs = {
        key: [dataclasses.replace(job, title=_whose(key)) for job in evaluation_jobs(plan)]
        for key, plan in plans.items()
    }
    distilled = [key for key, job in named.items() if finished(job)]
    waiting = unfinished(job for key in distilled for job in jobs[key])
    _follow(evaluated(waiting, executor), networks_in(waiting), sink, "final evaluations")
    return [_row(candidate, seeds, plans, jobs) for candidate in candidates]


def _whose(key: tuple[str, int]) -> str:
    return f"{key[0]}, seed {key[1]}"


def _plan(base: Config, candidate: Candidate, seed: int, data: RealData, directory: SearchDirectory) -> Plan:
    """A run of one method and nothing else; its experts lie with those of the search."""
    config = full_config(base, candidate.overrides)
    config = dataclasses.replace(
        config,
        seed=config.seed + seed,
        run=dataclasses.replace(config.run, methods=(config.tune.method,), baselines=()),
        compute=dataclasses.replace(config.compute, store=str(directory.experts)),
    )
    folder = RunDirectory(directory.final / candidate.name / f"seed-{config.seed}")
    write_text(folder.config, sealed_text(to_yaml(config)))
    return Plan(config, data, folder)


def _labelled(job: ExpertJob) -> ExpertJob:
    return dataclasses.replace(job, label=f"experts {job.buffer.fingerprint[:8]}")


def _follow(results: Iterable[object], total: int, sink: ProgressSink, name: str) -> None:
    """Wait for a stage's results; a configuration that diverges with a fresh seed is a finding, not the stage's end."""
    try:
        for done, _ in enumerate(results, start=1):
            sink.update(Update(name, done, total))
    except DivergenceError as error:
        sink.say(f"{name}: {error}")


def _row(
    candidate: Candidate,
    seeds: Sequence[int],
    plans: Mapping[tuple[str, int], Plan],
    jobs: Mapping[tuple[str, int], Sequence[EvaluationJob]],
) -> dict[str, Any]:
    """Return the final stage's row of one candidate; std is the sample standard deviation over all networks."""
    validation = []
    accuracies = []
    per_seed = []
    for seed in seeds:
        plan = plans[candidate.name, seed]
        job = plan.distill_job(plan.config.tune.method)
        outcome = whole_outcome(job.directory.outcome) if finished(job) else None
        if outcome is not None:
            validation.append(outcome["validation_accuracy"])
        scores = [row["accuracy"] for row in finished_rows(jobs[candidate.name, seed])]
        accuracies += scores
        per_seed.append(statistics.fmean(scores) if scores else None)
    complete = len(validation) == len(seeds) and bool(accuracies) and None not in per_seed
    mean = statistics.fmean(accuracies) if complete else None
    estimate = candidate.estimate
    return {
        "name": candidate.name,
        "overrides": dict(candidate.overrides),
        "search_estimate": candidate.estimate,
        "validation_mean": statistics.fmean(validation) if complete else None,
        "validation_accuracies": validation,
        "test_mean": mean,
        "test_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "test_mean_per_seed": per_seed,
        "n": len(accuracies),
        "seeds": [plans[candidate.name, seed].config.seed for seed in seeds],
        "estimate_minus_test": estimate - mean if mean is not None and estimate is not None else None,
        "status": "finished" if complete else "diverged",
    }


def winner(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row with the best mean validation accuracy over fresh seeds; the test set has no say."""
    finished_rows = [row for row in rows if row["validation_mean"] is not None]
    return max(finished_rows, key=lambda row: row["validation_mean"], default=None)
