"""Distil one synthetic set by any method: iterations with validation, checkpoints, metrics, and an exact resume."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ast_ray.config.identity import fingerprint
from ast_ray.config.loading import to_dict
from ast_ray.config.methods import method_info
from ast_ray.core.methods.base import IMAGES, STUDENT_LR, TARGETS, Problem, Report, State
from ast_ray.core.methods.coverage import Coverage, probe
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.methods.registry import open_problem
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError, counted
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.distillation.advice import describe_coverage, describe_loss, describe_skip
from ast_ray.stages.distillation.checkpoint import BEST, best_of, state_of
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.opening import open_distillation
from ast_ray.stages.distillation.publish import synthetic_set
from ast_ray.stages.distillation.team import ALONE, Team
from ast_ray.stages.distillation.worker_loop import follow, start_of
from ast_ray.stages.evaluation.validation import validation_accuracies
from ast_ray.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ast_ray.storage.synthetic import save_synthetic
from ast_ray.telemetry.metrics import MetricsLog
from ast_ray.telemetry.outcome import is_finished, publish_outcome, read_outcome
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.snapshots import Snapshots, due, save_grid
from ast_ray.telemetry.tensorboard import DistillationBoard

WATCHED = 100


@dataclass(frozen=True)
class Best:
    """The best set so far, by validation accuracy: what is published of it by name, and its learning rate."""

    tensors: Mapping[str, Tensor]
    student_lr: float
    accuracy: float
    iteration: int


class Distillation:
    """One running distillation: the problem, its state, and where both are written."""

    def __init__(self, job: DistillJob, sink: ProgressSink, team: Team = ALONE) -> None:
        self.job = job
        self.config = job.config
        self.sink = sink
        self.team = team
        self.data: RealData = real_data(self.config.data, resolve_device(self.config.compute))
        opened = open_distillation(job, self.data, team, sink)
        self.problem: Problem = open_problem(job.method, opened.sources)
        self.labels = opened.sources.labels
        self.experts, self.choice = opened.experts, opened.choice
        self.state: State
        self.coverage: Coverage | None = None
        self.best: Best | None = None
        self.recent: deque[float] = deque(maxlen=WATCHED)
        self.warned = False
        self.accuracies: tuple[float, ...] = ()
        self._resume_or_begin(opened.images)
        self.snapshots = Snapshots(job.directory.snapshots, after=self.state.iteration)
        if self.state.iteration == 0:
            self.snapshots.take(0, self.current_set())
        if self.choice is not None:
            start = start_of(self.labels, self.data.image_std, self.state, self.data.classes, self.choice)
            team.share(start)

    @property
    def _fingerprint(self) -> str:
        return fingerprint(self.job.identity)

    def _resume_or_begin(self, images: Tensor) -> None:
        found = read_checkpoint(self.job.directory.checkpoint, self._fingerprint)
        if found is not None:
            self.state = state_of(found, self.problem.begin(images, self.config.evaluate.real_lr))
        saved = found.values.get("coverage") if found is not None else None
        if saved:
            self.coverage = Coverage(**saved)
        elif isinstance(self.problem, TrajectoryMatching):  # also for checkpoints of earlier versions
            self.coverage = probe(self.problem, images, self.config.distill.student_lr)
        if found is None:
            student_lr = self.config.evaluate.real_lr
            if self.coverage is not None:
                self.sink.say(f"{self.job.name}: {describe_coverage(self.coverage, self.config.distill)}")
                student_lr = self.coverage.student_lr
            self.state = self.problem.begin(images, student_lr)
            save_synthetic(self.job.directory.initial, self.current_set())
            return
        self.recent.extend(found.values["recent"])
        if found.values["best"] is not None:
            self.best = Best(best_of(found, images.device), **found.values["best"])

    @property
    def student_lr(self) -> float:
        """The learning rate that is published: alpha, or that of real images where the method learns none."""
        return float(self.state.tensors.get(STUDENT_LR, self.config.evaluate.real_lr))

    def checkpoint(self) -> None:
        """Write the whole state, atomically."""
        tensors, best = dict(self.state.tensors), self.best
        values: dict[str, Any] = {
            **self.state.numbers,
            "recent": list(self.recent),
            "coverage": asdict(self.coverage) if self.coverage is not None else None,
            "best": None,
        }
        if best is not None:
            tensors |= {f"{BEST}{name}": tensor for name, tensor in best.tensors.items()}
            values["best"] = {
                "student_lr": best.student_lr,
                "accuracy": best.accuracy,
                "iteration": best.iteration,
            }
        write_checkpoint(self.job.directory.checkpoint, Checkpoint(self._fingerprint, tensors, values))

    def step(self) -> Report:
        """One iteration; a divergence is told with the checkpoint it can go on from."""
        if self.experts is not None and self.state.iteration + 1 < self.config.distill.iterations:
            self.experts.look_ahead(self.state.iteration + 1, self.state.numbers["last_start_epoch"])
        try:
            self.state, report = iterate(self.problem, self.state, self.team.match)
        except DivergenceError as error:
            self.checkpoint()
            where = f"last good state: iteration {self.state.iteration}, {self.job.directory.checkpoint}"
            raise error.retold(f"{self.job.name}: {error}; {where}") from error
        if report.finite:
            self.recent.append(report.relative_loss)
        if report.unusable and (message := describe_skip(report)):
            self.sink.say(f"{self.job.name}: {message}")
        return report

    def validate(self) -> float:
        """Accuracy on the validation split, mean over networks (``accuracies``); keeps the best set."""
        student_lr, published = self.student_lr, self.problem.published(self.state)
        try:
            self.accuracies = validation_accuracies(
                self.config,
                self.data,
                published[IMAGES],
                self.labels,
                student_lr,
                published.get(TARGETS),
                method_info(self.job.method).target_loss,
            )
        except DivergenceError as error:
            self.sink.say(f"{self.job.name}, iteration {self.state.iteration}: {error}; counted as accuracy 0")
            self.accuracies = (0.0,) * self.config.distill.validate_networks
        accuracy = sum(self.accuracies) / len(self.accuracies)
        if self.best is None or accuracy > self.best.accuracy:
            kept = {name: tensor.clone() for name, tensor in published.items()}
            self.best = Best(kept, student_lr, accuracy, self.state.iteration)
        return accuracy

    def warn_if_stuck(self) -> None:
        """Say once when the student covers none of the expert's distance, or runs away."""
        message = None if self.warned else self.stuck()
        if message:
            self.warned = True
            self.sink.say(message)

    def stuck(self) -> str | None:
        """Return what to change when the mean loss is near 1 or above it; None when the student covers something."""
        if self.coverage is None or len(self.recent) < min(WATCHED, self.config.distill.iterations):
            return None
        mean = sum(self.recent) / len(self.recent)
        message = describe_loss(mean, len(self.recent), self.student_lr, self.coverage, self.config.distill)
        return message and f"{self.job.name}: {message}"

    def _set(self, tensors: Mapping[str, Tensor], student_lr: float, iteration: int) -> SyntheticSet:
        about = {"method": self.job.name, "iteration": iteration, "fingerprint": self._fingerprint}
        info = method_info(self.job.method)
        if not info.learns_lr:
            about["student_lr"] = "real_lr"
        return synthetic_set(
            self.config,
            self.data,
            tensors[IMAGES],
            self.labels,
            student_lr,
            about,
            tensors.get(TARGETS),
            info.target_loss,
            method=info.name,
        )

    def current_set(self) -> SyntheticSet:
        """The set as it stands."""
        return self._set(self.problem.published(self.state), self.student_lr, self.state.iteration)

    def publish(self) -> dict[str, Any]:
        """Write best and last set, the picture, and the outcome, the last of all.

        Raises:
            DivergenceError: no iteration had a usable segment, so nothing was distilled.
        """
        assert self.best is not None
        if not self.state.updates:
            told = counted(self.state.iteration, "iteration")
            reason = f"none of {told} had a usable gradient (loss or gradient not finite)"
            raise DivergenceError(f"{self.job.name}: {reason}; {self.problem.skip_advice}")
        directory, best = self.job.directory, self.best
        save_synthetic(directory.last, self.current_set())
        chosen = self._set(best.tensors, best.student_lr, best.iteration)
        save_synthetic(directory.synthetic, chosen)
        save_grid(directory.picture, chosen)
        mean = sum(self.recent) / max(1, len(self.recent))
        outcome = {
            "method": self.job.name,
            "fingerprint": self._fingerprint,
            "iterations": self.state.iteration,
            "best_iteration": best.iteration,
            "validation_accuracy": best.accuracy,
            "student_lr": best.student_lr,
            "relative_loss": mean if self.recent else None,
            "skipped": self.state.skipped,
        }
        if self.coverage is not None and self.choice is not None:
            outcome |= {
                "coverage": _finite(asdict(self.coverage)),
                "warning": self.stuck(),
                "engine": self.choice.engine,
                "gradient": self.choice.method,
            }
        return publish_outcome(directory, outcome)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the values with null for those that JSON cannot hold."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def distill(job: DistillJob, sink: ProgressSink, team: Team = ALONE) -> dict[str, Any]:
    """Distil until the last iteration and return the outcome; goes on from the checkpoint when there is one.

    Every member of a team calls this. Member 0 does what a single process does; the others take their share of each
    iteration's segments and return nothing.

    Raises:
        DivergenceError: with iteration, cause and the last good checkpoint; StoreError: experts missing or damaged;
        WorkerLostError: another member is gone.
    """
    if team.rank > 0:
        follow(job, team)
        return {}
    for _ in distill_in_slices(job, sink, team=team):
        pass
    return dict(read_outcome(job.directory) or {})


def distill_in_slices(
    job: DistillJob, sink: ProgressSink, *, hparams: bool = True, team: Team = ALONE
) -> Iterator[int]:
    """Distil as `distill` does, yielding the iteration after each validation, with everything on disk.

    Whoever takes the iterations may stop between two of them; the next call goes on from there. ``hparams`` puts the
    distillation on TensorBoard's HParams page; a search does that itself, for the trials it stops as well.
    """
    settings = job.config.distill
    with torch_threads(job.config.compute.threads, precision=job.config.distill.precision):
        run = Distillation(job, sink, team)
        begun = run.state.iteration
        with (
            MetricsLog(job.directory.metrics, after=begun, every=settings.log_every) as metrics,
            DistillationBoard(Path(job.tensorboard), after=begun) as board,
        ):
            if metrics.lost:
                sink.say(f"{job.name}: {job.directory.metrics} was damaged; curves up to iteration {begun} have gaps")
            while run.state.iteration < settings.iterations:
                report = run.step()
                validated = _record(run, report, metrics, board)
                if validated and run.state.iteration < settings.iterations:
                    yield run.state.iteration
            outcome = run.publish()
            final = {"validation/accuracy": outcome["validation_accuracy"]}
            if outcome["relative_loss"] is not None:
                final["match/relative_loss"] = outcome["relative_loss"]
            if hparams:
                board.finish(to_dict(job.config), final)
    yield settings.iterations


def _record(run: Distillation, report: Report, metrics: MetricsLog, board: DistillationBoard) -> bool:
    """Log, validate and checkpoint where the settings say so; return whether it validated."""
    settings, number = run.config.distill, report.iteration
    last = number == settings.iterations
    row: dict[str, Any] = {}
    validated = last or bool(settings.validate_every and number % settings.validate_every == 0)
    if number % settings.log_every == 0 or number == 1 or last:
        row = report.row()
        if report.finite:
            board.iteration(report)
    if validated:
        accuracy = run.validate()
        row = {**report.row(), "validation_accuracy": accuracy, "validation_accuracies": run.accuracies}
        board.validation(number, run.accuracies)
    if "validation_accuracy" in row or due(number, settings.iterations):
        current = run.current_set()
        run.snapshots.take(number, current)
        board.images(number, current)
    if row:
        metrics.append(row)
    run.warn_if_stuck()
    if validated or number % settings.checkpoint_every == 0:
        metrics.publish()  # before the checkpoint: on resume, rows beyond it are dropped, missing ones stay missing
        board.publish()
        run.checkpoint()
    note = report.note()
    if run.best is not None:
        note += f", validation {run.best.accuracy:.1%}"
    run.sink.update(Update(run.job.key, number, settings.iterations, note))
    return validated


def finished(job: DistillJob) -> bool:
    """Return whether this very distillation has published its outcome, and its sets are there and whole."""
    return is_finished(job.directory, fingerprint(job.identity))
