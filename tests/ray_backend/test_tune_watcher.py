from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ast_ray.ray_backend.tune.callback import Watcher
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.progress import TrialRow
from ast_ray.search.record import Rung, TrialRecord
from tests.recorder import Recorder

OVERRIDES = {"distill.rho": 0.1}


class Rows(Recorder):
    """A sink that remembers the last row."""

    def trial(self, row: TrialRow) -> None:
        self.last = row


class Keeper:
    """Remembers whose leases were dropped."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.drop = SimpleNamespace(remote=self.dropped.append)


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def watcher(tmp_path: Path, keeper: Keeper) -> Watcher:
    return Watcher(SearchDirectory(tmp_path), Rows(), None, keeper, lambda trial: (trial.trial_id, OVERRIDES))


def tune_trial(tmp_path: Path, last_result: dict[str, Any]) -> Any:
    error = tmp_path / "error.txt"
    error.write_text("Traceback\n  ...\nOutOfMemoryError: the node ran out of memory\n\n", encoding="utf-8")
    return SimpleNamespace(trial_id="t", config={}, last_result=last_result, error_file=str(error))


def read(tmp_path: Path) -> TrialRecord:
    record = TrialRecord.read(SearchDirectory(tmp_path).trial("t"))
    assert record is not None
    return record


def test_a_worker_that_dies_before_it_writes_anything_is_recorded(
    watcher: Watcher, keeper: Keeper, tmp_path: Path
) -> None:
    watcher.on_trial_error(0, [], tune_trial(tmp_path, {}))
    record = read(tmp_path)
    assert (record.status, record.overrides) == ("failed", OVERRIDES)
    assert record.reason == "OutOfMemoryError: the node ran out of memory"
    assert keeper.dropped == ["t"]
    assert watcher.ended == 1
    assert list(SearchDirectory(tmp_path).trial_board("t").glob("events*"))


@pytest.mark.parametrize(("status", "kept"), [("running", "stopped"), ("finished", "finished")])
def test_a_trial_the_scheduler_ends_is_stopped_unless_it_was_done(
    watcher: Watcher, tmp_path: Path, status: str, kept: str
) -> None:
    record = TrialRecord.open(SearchDirectory(tmp_path).trial("t"), "t", OVERRIDES, "e")
    record.rungs, record.status = [Rung(4, 0.5, 0.6, 0.9, 0.02)], status
    record.save()
    watcher.on_trial_complete(0, [], tune_trial(tmp_path, {"trial": "t", "iteration": 4, "validation_accuracy": 0.5}))
    assert read(tmp_path).status == kept
    boards = list(SearchDirectory(tmp_path).trial_board("t").glob("events*"))
    watcher.on_trial_complete(0, [], tune_trial(tmp_path, {"trial": "t", "iteration": 4}))
    assert list(SearchDirectory(tmp_path).trial_board("t").glob("events*")) == boards, "told to TensorBoard once"


def test_nothing_of_the_display_is_saved_by_tune(watcher: Watcher) -> None:
    assert watcher.__getstate__() == {}
