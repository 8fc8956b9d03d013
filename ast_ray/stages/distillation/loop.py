"""Distil one synthetic set: Algorithm 2's loop with validation, checkpoints, metrics, and an exact resume."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ast_ray.config.identity import fingerprint
from ast_ray.config.loading import to_dict
from ast_ray.config.settings import Config
from ast_ray.core.methods.coverage import Coverage, probe
from ast_ray.core.methods.trajectory import DistillState, IterationReport, Problem, iterate
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream
from ast_ray.core.selection import initial_images
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError, counted
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.distillation.advice import describe_coverage, describe_loss, describe_skip
from ast_ray.stages.distillation.checkpoint import require_whole
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.prefetch import Prefetching
from ast_ray.stages.distillation.publish import synthetic_set
from ast_ray.stages.distillation.team import ALONE, Team
from ast_ray.stages.distillation.worker_loop import follow, start_of
from ast_ray.stages.engine import open_engine
from ast_ray.stages.evaluation.validation import validation_accuracies
from ast_ray.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.synthetic import save_synthetic
from ast_ray.telemetry.metrics import MetricsLog
from ast_ray.telemetry.outcome import is_finished, publish_outcome, read_outcome
from ast_ray.telemetry.progress import ProgressSink, Update
from ast_ray.telemetry.snapshots import Snapshots, due, save_grid
from ast_ray.telemetry.tensorboard import DistillationBoard

WATCHED = 100


@dataclass(frozen=True)
class Best:
    """The best set so far, by validation accuracy."""

    images: Tensor
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
        generator = stream(self.config.seed, "distill", "layout")
        shape = self.data.image_shape
        network = build(self.config.network, shape, self.data.classes, generator).to(self.data.train_images.device)
        images, labels = start_images(self.config, self.data, job.buffer, network)
        self.experts = Prefetching(job.buffer, self.config.distill, self.config.seed, team.places(self.config.distill))
        self.choice, engine, note = open_engine(self.config, self.data, network)
        if note:
            sink.say(f"{job.method}: {note}")
        settings = replace(self.config.distill, gradient=self.choice.method)
        seed, image_std = self.config.seed, self.data.image_std
        self.problem = Problem(network, labels, self.experts, settings, seed, engine, image_std)
        self.state: DistillState
        self.coverage: Coverage
        self.best: Best | None = None
        self.recent: deque[float] = deque(maxlen=WATCHED)
        self.warned = False
        self.accuracies: tuple[float, ...] = ()
        self._resume_or_begin(images)
        self.snapshots = Snapshots(job.directory.snapshots, after=self.state.iteration)
        if self.state.iteration == 0:
            self.snapshots.take(0, self.current_set())
        team.share(start_of(self.problem, self.state, self.data.classes, self.choice))

    @property
    def _fingerprint(self) -> str:
        return fingerprint(self.job.identity)

    def _resume_or_begin(self, images: Tensor) -> None:
        found = read_checkpoint(self.job.directory.checkpoint, self._fingerprint)
        if found is None:
            self.coverage = probe(self.problem, images, self.config.distill.student_lr)
            self.sink.say(f"{self.job.method}: {describe_coverage(self.coverage, self.config.distill)}")
            self.state = DistillState.begin(images, self.coverage.student_lr)
            save_synthetic(self.job.directory.initial, self.current_set())
            return
        require_whole(found, images)
        tensors = {name: tensor.to(images.device) for name, tensor in found.tensors.items()}
        self.state = DistillState.from_saved(tensors, found.values)
        saved = found.values.get("coverage")  # absent in checkpoints of earlier versions
        self.coverage = Coverage(**saved) if saved else probe(self.problem, images, self.config.distill.student_lr)
        self.recent.extend(found.values["recent"])
        if found.values["best"] is not None:
            self.best = Best(images=tensors["best_images"], **found.values["best"])

    def checkpoint(self) -> None:
        """Write the whole state, atomically."""
        tensors, best = self.state.tensors, self.best
        values: dict[str, Any] = {
            **self.state.numbers,
            "recent": list(self.recent),
            "coverage": asdict(self.coverage),
            "best": None,
        }
        if best is not None:
            tensors["best_images"] = best.images
            values["best"] = {
                "student_lr": best.student_lr,
                "accuracy": best.accuracy,
                "iteration": best.iteration,
            }
        write_checkpoint(self.job.directory.checkpoint, Checkpoint(self._fingerprint, tensors, values))

    def step(self) -> IterationReport:
        """One iteration; a divergence is told with the checkpoint it can go on from."""
        if self.state.iteration + 1 < self.config.distill.iterations:
            self.experts.look_ahead(self.state.iteration + 1, self.state.last_start_epoch)
        try:
            self.state, report = iterate(self.problem, self.state, self.team.match)
        except DivergenceError as error:
            self.checkpoint()
            where = f"last good state: iteration {self.state.iteration}, {self.job.directory.checkpoint}"
            raise error.retold(f"{self.job.method}: {error}; {where}") from error
        if report.finite:
            self.recent.append(report.relative_loss)
        if report.unusable and (message := describe_skip(report)):
            self.sink.say(f"{self.job.method}: {message}")
        return report

    def validate(self) -> float:
        """Accuracy on the validation split, mean over networks (``accuracies``); keeps the best set."""
        student_lr, labels = float(self.state.student_lr), self.problem.labels
        try:
            self.accuracies = validation_accuracies(self.config, self.data, self.state.images, labels, student_lr)
        except DivergenceError as error:
            self.sink.say(f"{self.job.method}, iteration {self.state.iteration}: {error}; counted as accuracy 0")
            self.accuracies = (0.0,) * self.config.distill.validate_networks
        accuracy = sum(self.accuracies) / len(self.accuracies)
        if self.best is None or accuracy > self.best.accuracy:
            self.best = Best(self.state.images.clone(), student_lr, accuracy, self.state.iteration)
        return accuracy

    def warn_if_stuck(self) -> None:
        """Say once when the student covers none of the expert's distance, or runs away."""
        message = None if self.warned else self.stuck()
        if message:
            self.warned = True
            self.sink.say(message)

    def stuck(self) -> str | None:
        """Return what to change when the mean loss is near 1 or above it; None when the student covers something."""
        if len(self.recent) < min(WATCHED, self.config.distill.iterations):
            return None
        mean = sum(self.recent) / len(self.recent)
        message = describe_loss(
            mean, len(self.recent), float(self.state.student_lr), self.coverage, self.config.distill
        )
        return message and f"{self.job.method}: {message}"

    def _set(self, images: Tensor, student_lr: float, iteration: int) -> SyntheticSet:
        about = {"method": self.job.method, "iteration": iteration, "fingerprint": self._fingerprint}
        return synthetic_set(self.config, self.data, images, self.problem.labels, student_lr, about)

    def current_set(self) -> SyntheticSet:
        """The set as it stands."""
        return self._set(self.state.images, float(self.state.student_lr), self.state.iteration)

    def publish(self) -> dict[str, Any]:
        """Write best and last set, the picture, and the outcome, the last of all.

        Raises:
            DivergenceError: no iteration had a usable segment, so nothing was distilled.
        """
        assert self.best is not None
        if not self.state.outer.updates:
            told = counted(self.state.iteration, "iteration")
            reason = f"none of {told} had a usable segment (loss or gradient not finite)"
            raise DivergenceError(f"{self.job.method}: {reason}; lower distill.student_lr or distill.syn_steps")
        directory, best = self.job.directory, self.best
        save_synthetic(directory.last, self.current_set())
        chosen = self._set(best.images, best.student_lr, best.iteration)
        save_synthetic(directory.synthetic, chosen)
        save_grid(directory.picture, chosen)
        mean = sum(self.recent) / max(1, len(self.recent))
        outcome = {
            "method": self.job.method,
            "fingerprint": self._fingerprint,
            "iterations": self.state.iteration,
            "best_iteration": best.iteration,
            "validation_accuracy": best.accuracy,
            "student_lr": best.student_lr,
            "relative_loss": mean if self.recent else None,
            "skipped": self.state.skipped,
            "coverage": _finite(asdict(self.coverage)),
            "warning": self.stuck(),
            "engine": self.choice.engine,
            "gradient": self.choice.method,
        }
        return publish_outcome(directory, outcome)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the values with null for those that JSON cannot hold."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def start_images(config: Config, data: RealData, buffer: Buffer, network: Network) -> tuple[Tensor, Tensor]:
    """Initial images and labels; representative ones look through expert 0 at its last recorded epoch."""
    if config.distill.init == "representative":
        (theta,) = buffer.segment(0, config.expert.epochs, 0)
        load(network, FlatSpec.of(network), theta.to(data.train_images.device))
    return initial_images(
        config.distill.init,
        data.train_images,
        data.train_labels,
        data.classes,
        config.distill.ipc,
        seed=config.seed,
        network=network,
        clusters=config.distill.init_clusters,
    )


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
                sink.say(f"{job.method}: {job.directory.metrics} was damaged; curves up to iteration {begun} have gaps")
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


def _record(run: Distillation, report: IterationReport, metrics: MetricsLog, board: DistillationBoard) -> bool:
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
    note = f"loss {report.relative_loss:.3f}, alpha {report.student_lr:.4g}"
    if run.best is not None:
        note += f", validation {run.best.accuracy:.1%}"
    run.sink.update(Update(run.job.key, number, settings.iterations, note))
    return validated


def finished(job: DistillJob) -> bool:
    """Return whether this very distillation has published its outcome, and its sets are there and whole."""
    return is_finished(job.directory, fingerprint(job.identity))
