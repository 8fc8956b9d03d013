"""One trial of a search: settings -> experts -> distillation in slices -> validation accuracy. Resumable, without Ray.

A trial's folder is named by the fingerprint of everything that decides its result, so the same configuration is never
worked on twice, whoever asks for it and after whatever crash. Accuracies are those of the validation split. The trial
trains the experts it lacks; which of several trials trains one is decided by its caller.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

from ast_ray.config.checks import problems_of
from ast_ray.config.identity import expert_identity, fingerprint, method_identity
from ast_ray.config.loading import apply_overrides
from ast_ray.config.methods import method_info
from ast_ray.config.presets import method_config
from ast_ray.config.settings import Config
from ast_ray.errors import AstRayError, ConfigError, DivergenceError, StoreError
from ast_ray.search.directory import SearchDirectory, TrialDirectory
from ast_ray.search.record import DIVERGED, FAILED, FINAL, FINISHED, INVALID, Rung, TrialRecord
from ast_ray.search.trial_probe import refusal
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import distill_in_slices
from ast_ray.stages.experts.train import ExpertJob, train_experts
from ast_ray.storage.checkpoint import read_checkpoint
from ast_ray.storage.containers.documents import parsed, sealed_line, unsealed
from ast_ray.storage.containers.opening import parsing, require_file
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.lock import exclusive
from ast_ray.storage.typed import Count, Number, checked
from ast_ray.telemetry.metrics import read_metrics
from ast_ray.telemetry.progress import ProgressSink, Update


def train_for(trial: Trial, expert_id: int, sink: ProgressSink, cost: ExpertCost) -> None:
    """Train one expert of a trial's buffer and log what it cost."""
    began = time.monotonic()
    name = fingerprint(trial.experts)
    boards = str(trial.search.tensorboard / "experts" / name)
    train_experts(ExpertJob(trial.config, trial.buffer, (expert_id,), boards, f"experts {name[:8]}"), sink)
    seconds = time.monotonic() - began
    cost.trained += seconds
    _log(trial.search, {"buffer": name, "expert": expert_id, "trial": trial.name, "seconds": round(seconds, 3)})


def train_missing(trial: Trial, sink: ProgressSink, cost: ExpertCost) -> None:
    """Train every missing expert in this process: the provider without Ray."""
    buffer = trial.buffer
    buffer.prepare()
    for expert_id in buffer.missing():
        train_for(trial, expert_id, sink, cost)


def _log(search: SearchDirectory, row: dict[str, Any]) -> None:
    """Append one line; short appends of several processes do not mix."""
    search.path.mkdir(parents=True, exist_ok=True)
    with search.expert_log.open("a", encoding="utf-8") as file:
        file.write(sealed_line(row))


class ExpertRow(TypedDict):
    """An expert trained in a search: its buffer, its number, the trial that trained it, the seconds it took."""

    buffer: str
    expert: Count
    trial: str
    seconds: Number


def expert_costs(search: SearchDirectory) -> list[ExpertRow]:
    """Return one row per expert trained in this search; a half-written last line is left out.

    Raises:
        StoreError: a damaged line.
    """
    if not search.expert_log.exists():
        return []
    require_file(search.expert_log, StoreError)
    rows = []
    for number, line in enumerate(search.expert_log.read_bytes().split(b"\n")[:-1], 1):
        with parsing(search.expert_log, StoreError, told=f"damaged in line {number}", hint="delete the line"):
            rows.append(checked(unsealed(parsed(line)), ExpertRow))
    return rows


_START = "distill.max_start_epoch"
_AHEAD = "distill.expert_epochs"
_EPOCHS = "expert.epochs"


@dataclass(frozen=True)
class Trial:
    """One configuration of a search: what is computed, and where it lies."""

    name: str
    config: Config
    overrides: Mapping[str, Any] = field(hash=False)
    experts: Mapping[str, Any] = field(hash=False)
    identity: Mapping[str, Any] = field(hash=False)
    search: SearchDirectory

    @property
    def directory(self) -> TrialDirectory:
        """Its folder."""
        return self.search.trial(self.name)

    @property
    def method(self) -> str:
        """The method that the search varies."""
        return self.config.tune.method

    @property
    def needs_experts(self) -> bool:
        """True where its method matches experts."""
        return method_info(self.method).needs_experts

    @property
    def experts_name(self) -> str:
        """Fingerprint of the experts it matches; empty for a method without experts."""
        return fingerprint(self.experts) if self.needs_experts else ""

    @property
    def buffer(self) -> Buffer:
        """The experts it matches, shared with every trial of the same expert settings; only where it needs them."""
        assert self.needs_experts, f"{self.method} matches no experts"
        return Buffer(self.search.experts / fingerprint(self.experts), self.experts, self.config.expert.count)

    @property
    def job(self) -> DistillJob:
        """Its distillation."""
        board = str(self.search.trial_board(self.name))
        folder = str(self.directory.path)
        buffer, title = self.buffer if self.needs_experts else None, f"trial {self.name[:8]}"
        return DistillJob(self.method, self.config, buffer, self.identity, folder, board, title)


@dataclass
class ExpertCost:
    """Seconds a trial spent training experts and waiting for others to; kept apart from its own work."""

    trained: float = 0.0
    waited: float = 0.0


class ExpertProvider(Protocol):
    """Makes sure that a trial's experts exist."""

    def __call__(self, trial: Trial, sink: ProgressSink, cost: ExpertCost) -> None:
        """Return when every expert is there; add to the cost while at it."""


def canonicalize(overrides: Mapping[str, Any], base: Config) -> dict[str, Any]:
    """Leave out what cannot matter, so that equal work has one name.

    A constant lambda has no start and no length. A drawn T+ beyond what the experts' epochs allow is the largest that
    they allow, where there is one.
    """
    values = dict(overrides)
    if values.get("expert.clip_schedule") == "constant":
        values.pop("expert.clip_start", None)
        values.pop("expert.clip_epochs", None)
    drawn = values.get(_START)
    if isinstance(drawn, int):
        epochs, ahead = values.get(_EPOCHS, base.expert.epochs), values.get(_AHEAD, base.distill.expert_epochs)
        if isinstance(epochs, int) and isinstance(ahead, int) and 1 <= epochs + 1 - ahead < drawn:
            values[_START] = epochs + 1 - ahead
    return values


def trial_budget(base: Config) -> tuple[int, int, int]:
    """Return (iterations of a whole trial, iterations before the first rung, iterations between reports)."""
    budget = base.tune.budget or base.distill.iterations
    grace = base.tune.grace or max(1, budget // 8)
    return budget, grace, base.tune.report_every or grace


def plan_trial(base: Config, overrides: Mapping[str, Any], data_id: str, search: SearchDirectory) -> Trial:
    """The trial of ``base`` with settings replaced by name.

    Raises:
        ConfigError: an unknown setting or a value of the wrong type (problems between settings show in `run_trial`).
    """
    budget, _, every = trial_budget(base)
    config = apply_overrides(base, canonicalize(overrides, base))
    distill = dataclasses.replace(config.distill, iterations=budget, validate_every=every)
    method = base.tune.method
    run = dataclasses.replace(config.run, methods=(method,)) if method != "ast" else config.run
    config = method_config(dataclasses.replace(config, distill=distill, run=run), method)
    identity = method_identity(config, data_id, method)
    return Trial(fingerprint(identity), config, dict(overrides), expert_identity(config, data_id), identity, search)


def run_trial(trial: Trial, provide: ExpertProvider, sink: ProgressSink) -> Generator[Rung, None, None]:
    """Work on a trial and yield a rung after each validation, everything before it on disk.

    Rungs reached in an earlier attempt are yielded again at once. A trial that ended before does no work. What goes
    wrong with the configuration itself ends the trial with a status and a reason, as its last rung, never as an error.
    """
    with exclusive(trial.directory.lock, wait=True, owner="another trial"):
        record = TrialRecord.open(trial.directory, trial.name, trial.overrides, trial.experts_name)
        if record.status in FINAL:
            yield from record.replay()
            return
        problems = problems_of(trial.config)
        if problems:
            record.end(INVALID, str(ConfigError(problems)))
            yield record.last()
            return
        record.rungs = _reached(trial)
        yield from record.rungs
        try:
            yield from _work(trial, record, provide, sink)
        except DivergenceError as error:
            record.end(DIVERGED, str(error))
        except AstRayError as error:
            record.end(FAILED, str(error))
        except Exception as error:  # a search goes on whatever one configuration does; the record keeps the trace
            record.end(FAILED, f"{type(error).__name__}: {error}", traceback.format_exc())
        else:
            return
        yield record.last()


def _work(trial: Trial, record: TrialRecord, provide: ExpertProvider, sink: ProgressSink) -> Iterator[Rung]:
    done = {rung.iteration for rung in record.rungs}
    cost, clock = ExpertCost(), _Clock()
    before = (record.expert_seconds, record.waited_seconds)

    def spend() -> None:
        record.expert_seconds, record.waited_seconds = before[0] + cost.trained, before[1] + cost.waited
        record.seconds += clock.lap()

    record.save()
    if trial.needs_experts and not record.rungs and trial.buffer.missing() and (reason := refusal(trial.config)):
        record.end(INVALID, f"probed before its experts were trained: {reason}")
        yield record.last()
        return
    try:
        if trial.needs_experts:
            provide(trial, sink, cost)
    finally:
        spend()
    for iteration in distill_in_slices(trial.job, _Progress(sink), hparams=False):
        spend()
        if iteration in done:
            continue
        rung = _rungs(trial, iteration)[-1]
        record.rungs.append(rung)
        record.save()
        if iteration < trial.config.distill.iterations:
            yield rung
            clock.lap()
    record.end(FINISHED)
    yield record.last()


def _reached(trial: Trial) -> list[Rung]:
    """Rungs up to the last checkpoint."""
    found = read_checkpoint(trial.directory.work.checkpoint, fingerprint(trial.identity))
    return [] if found is None else _rungs(trial, found.values["iteration"])


def _rungs(trial: Trial, until: int) -> list[Rung]:
    rungs: list[Rung] = []
    loss = 1.0  # nothing covered yet; a row whose segments were not usable has none of its own
    for row in read_metrics(trial.directory.work.metrics):
        loss = loss if row["relative_loss"] is None else row["relative_loss"]
        if "validation_accuracy" in row and row["iteration"] <= until:
            accuracy = row["validation_accuracy"]
            best = max([accuracy, *(rung.best_validation_accuracy for rung in rungs[-1:])])
            alpha = row.get("student_lr", trial.config.evaluate.real_lr)  # published where none is learned
            rungs.append(Rung(row["iteration"], accuracy, best, loss, alpha))
    return rungs


class _Clock:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Return and start anew."""
        last, self._last = self._last, time.monotonic()
        return self._last - last


class _Progress:
    """Passes progress on and keeps a distillation's advice to itself: a search tries bad settings on purpose."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink

    def update(self, update: Update) -> None:
        """Pass on."""
        self._sink.update(update)

    def say(self, message: str) -> None:
        """Ignore."""
