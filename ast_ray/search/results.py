"""Results of a search: every trial in one Parquet file, the best configuration as YAML, a summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ast_ray.config.loading import flatten, to_dict, to_yaml
from ast_ray.config.settings import Config
from ast_ray.errors import counted
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.final import Candidate, full_config
from ast_ray.search.record import BROKEN, FINAL, FINISHED, STOPPED, TrialRecord, read_records
from ast_ray.search.trial import canonicalize, expert_costs, trial_budget
from ast_ray.storage.atomic import atomic_path, write_text

PRESET = "preset"
_REASONS, _REASON_LENGTH = 4, 160
_NUMBER = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_PLACE = re.compile(r"^(trial \S+: )?(distillation stopped at [^:]*: )?")
_NUMBERS_IN_PARENTHESES = re.compile(r" \([^()]*(\d|\bnan\b|\binf\b)[^()]*\)")


def trial_rows(records: Sequence[TrialRecord], objective: str) -> list[dict[str, Any]]:
    """One flat row per trial: number in order of beginning, how it ended, accuracy, cost, and each hyperparameter."""
    names = sorted({name for record in records for name in record.overrides})
    rows = []
    for number, record in enumerate(records):
        last = record.last()
        rows.append(
            {
                "trial": number,
                "fingerprint": record.fingerprint,
                "status": record.status,
                "reason": record.reason,
                "objective": record.objective(objective),
                "iterations": last.iteration,
                "relative_loss": last.relative_loss,
                "student_lr": last.student_lr,
                "buffer": record.experts,
                "seconds": record.seconds,
                "expert_seconds": record.expert_seconds,
                "waited_seconds": record.waited_seconds,
                "begun": record.begun,
                "ended": record.ended,
                "rung_iterations": [rung.iteration for rung in record.rungs],
                "rung_accuracies": [rung.validation_accuracy for rung in record.rungs],
                **{name: record.overrides.get(name) for name in names},
            }
        )
    return rows


def write_trials(directory: SearchDirectory, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all trials as one Parquet file; a column of mixed kinds (a number here, text there) becomes text."""
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    for name, values in columns.items():
        kinds = {float if type(value) is int else type(value) for value in values if value is not None}
        if len(kinds) > 1:
            columns[name] = [None if value is None else str(value) for value in values]
    with atomic_path(directory.table) as temporary:
        pq.write_table(pa.table(columns), temporary)


def best_records(records: Sequence[TrialRecord], objective: str, count: int) -> list[TrialRecord]:
    """The best ``count`` trials: furthest first among those that ran to the end, then by accuracy.

    A trial that was stopped early can top the list with the accuracy of a short run; it is only taken where too few ran
    to the end. Trials that broke are never taken.
    """
    usable = [record for record in records if record.status in (FINISHED, STOPPED) and record.rungs]
    order = sorted(usable, key=lambda record: (record.status != FINISHED, -record.objective(objective)))
    return order[:count]


def candidates(base: Config, records: Sequence[TrialRecord], count: int) -> list[Candidate]:
    """Return the candidates of the final stage: the settings the search started from, and the best that differ."""
    objective = base.tune.objective
    same = [record for record in records if _is_start(record, base)]
    estimate = same[0].objective(objective) if same and same[0].status in (FINISHED, STOPPED) else None
    found = [Candidate(PRESET, {}, estimate)]
    others = [record for record in records if not _is_start(record, base)]
    for rank, record in enumerate(best_records(others, objective, count), start=1):
        found.append(Candidate(f"best-{rank}", record.overrides, record.objective(objective)))
    return found


def _is_start(record: TrialRecord, base: Config) -> bool:
    start = flatten(to_dict(base))
    return all(start.get(name) == value for name, value in canonicalize(record.overrides, base).items())


def write_best(base: Config, overrides: Mapping[str, Any], how: str, directory: SearchDirectory) -> None:
    """Write a configuration that `ast-ray run --config` takes, with a line on where it comes from."""
    text = to_yaml(full_config(base, overrides))
    write_text(directory.best, f"# {how}\n{text}")


def describe_endings(records: Sequence[TrialRecord]) -> str:
    """Return one line: how many trials ended normally, and how many did not, by reason, the most frequent first."""
    ended = [record for record in records if record.status in FINAL]
    broken = [record for record in ended if record.status in BROKEN]
    line = f"{len(ended) - len(broken)} of {counted(len(ended), 'trial')} ended normally"
    if not broken:
        return line
    counts = Counter(f"{_kind_of(record.reason)} ({record.status})" for record in broken)
    shown = [f"{count} x {reason}" for reason, count in counts.most_common(_REASONS)]
    left = sum(counts.values()) - sum(count for _, count in counts.most_common(_REASONS))
    return f"{line}; " + "; ".join([*shown, *([f"{counted(left, 'trial')} for other reasons"] if left else [])])


def _kind_of(reason: str) -> str:
    """Return the cause alone, without trial, place, advice and numbers, so that trials that ended alike group.

    >>> _kind_of("trial 1f: distillation stopped at iteration 3, expert 0: alpha would become -2e-3 (nu 1); lower it")
    'alpha would become negative'
    """
    first = reason.splitlines()[0] if reason else "no reason given"
    cause = _PLACE.sub("", first).partition("; ")[0]
    cause = _NUMBERS_IN_PARENTHESES.sub("", cause)
    cause = re.sub(rf"would become (about )?-({_NUMBER}|inf)", "would become negative", cause)
    return re.sub(rf"-?{_NUMBER}", "..", cause)[:_REASON_LENGTH]


def summary(base: Config, directory: SearchDirectory) -> dict[str, Any]:
    """Counts by status, cost (experts apart), and the best trial."""
    records = read_records(directory.trials)
    counts = {status: sum(record.status == status for record in records) for status in (*FINAL, "running")}
    budget = trial_budget(base)[0]
    costs = expert_costs(directory)
    best = best_records(records, base.tune.objective, 1)
    return {
        "trials": len(records),
        "statuses": {status: count for status, count in counts.items() if count},
        "endings": describe_endings(records),
        "stopped_early": counts[STOPPED] / len(records) if records else 0.0,
        "broken": [
            {"trial": record.fingerprint, "status": record.status, "reason": record.reason}
            for record in records
            if record.status in BROKEN
        ],
        "iterations": {
            "done": sum(record.last().iteration for record in records),
            "without_stopping": budget * len(records),
        },
        "buffers": len({record.experts for record in records if record.rungs and record.experts}),
        "experts_trained": len(costs),
        "seconds": {
            "trials": sum(record.seconds - record.expert_seconds - record.waited_seconds for record in records),
            "experts": sum(row["seconds"] for row in costs),
            "waiting": sum(record.waited_seconds for record in records),
        },
        "objective": base.tune.objective,
        "best": {
            "trial": best[0].fingerprint,
            "objective": best[0].objective(base.tune.objective),
            "overrides": best[0].overrides,
        }
        if best
        else None,
    }
