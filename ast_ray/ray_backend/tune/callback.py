"""Tune's callback: keeps records, HParams and the display up to date, and frees what dead trials held."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from ast_ray.ray_backend.progress import forward
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.hparams import write_hparams
from ast_ray.search.progress import SearchSink, TrialRow
from ast_ray.search.record import BROKEN, FAILED, RUNNING, STOPPED, TrialRecord, stop_record

_INTERVAL = 0.5

# From Tune's trial to the name of its folder and its settings.
Identify = Callable[[TuneTrial], tuple[str, dict[str, Any]]]


class Watcher(tune.Callback):
    """Sees every event of a search on the driver."""

    def __init__(
        self, directory: SearchDirectory, sink: SearchSink, board: Any, keeper: Any, identify: Identify
    ) -> None:
        self._directory = directory
        self._sink = sink
        self._board = board
        self._keeper = keeper
        self._identify = identify
        self._numbers: dict[str, int] = {}
        self._looked = 0.0
        self.ended = 0

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks; a display cannot be saved and need not be."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial was given a slot."""
        self._show(trial, {}, RUNNING)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial validated."""
        self._show(trial, result, result.get("status", RUNNING))

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial returned, or the scheduler stopped it."""
        result = trial.last_result or {}
        reason = f"stopped by the scheduler at iteration {result.get('iteration', 0)}"
        self._end(trial, result, STOPPED, reason)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial's process died more often than allowed."""
        self._release(trial)
        self._end(trial, trial.last_result or {}, FAILED, _reason(trial))

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial's process died and is started again."""
        self._release(trial)
        self._sink.say(f"trial {self._number(trial)}: its worker was lost; it goes on from its last checkpoint")

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Now and then: pass on what the workers say."""
        now = time.monotonic()
        if now - self._looked >= _INTERVAL:
            self._looked = now
            forward(self._board, self._sink)

    def _release(self, trial: TuneTrial) -> None:
        self._keeper.drop.remote(trial.trial_id)

    def _number(self, trial: TuneTrial) -> int:
        return self._numbers.setdefault(trial.trial_id, len(self._numbers))

    def _end(self, trial: TuneTrial, result: dict[str, Any], status: str, reason: str) -> None:
        self.ended += 1
        name, overrides = self._identify(trial)
        name = result.get("trial") or name
        folder = self._directory.trial(name)
        record = stop_record(folder, status, reason)
        if record is None:
            record = TrialRecord.open(folder, name, overrides, "")
            record.end(status, reason)
        self._show(trial, result, record.status, record.reason)
        self._write_hparams(record)

    def _write_hparams(self, record: TrialRecord) -> None:
        marker = record.directory.path / "hparams.json"
        if marker.exists():
            return
        last = record.last()
        metrics = {
            "search/validation_accuracy": last.validation_accuracy,
            "search/best_validation_accuracy": last.best_validation_accuracy,
            "search/relative_loss": last.relative_loss,
            "search/iterations": float(last.iteration),
        }
        values = {**record.overrides, "status": record.status}
        folder = self._directory.trial_board(record.fingerprint)
        write_hparams(folder, values, metrics, iteration=last.iteration, broken=record.status in BROKEN)
        marker.write_text("{}\n", encoding="utf-8")

    def _show(self, trial: TuneTrial, result: dict[str, Any], status: str, note: str = "") -> None:
        row = TrialRow(
            number=self._number(trial),
            name=str(result.get("trial", "")),
            status=status,
            overrides=result.get("overrides") or self._identify(trial)[1],
            iteration=int(result.get("iteration", 0)),
            accuracy=result.get("validation_accuracy"),
            note=note,
        )
        self._sink.trial(row)


def _reason(trial: TuneTrial) -> str:
    """The last line of the error file Tune keeps, which is text."""
    path = Path(trial.error_file or "")
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    told = [line.strip() for line in lines if line.strip()]
    return told[-1] if told else "its worker was lost"
