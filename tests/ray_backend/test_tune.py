"""One Ray for the module: shared buffers, a search whose trials fail in every way, resuming it, and a population."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
import torch
from ray import tune
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from ast_ray.cli.search_session import report_search
from ast_ray.config import Config
from ast_ray.data.real import RealData
from ast_ray.errors import ConfigError, DivergenceError
from ast_ray.ray_backend.session import Capacity, ray_session
from ast_ray.ray_backend.tune.callback import Watcher
from ast_ray.ray_backend.tune.environment import quiet_tune
from ast_ray.ray_backend.tune.expert_leases import SharedExperts, open_buffers
from ast_ray.ray_backend.tune.search import prepare, search
from ast_ray.ray_backend.tune.spaces import Space
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.progress import TrialRow
from ast_ray.search.record import read_records
from ast_ray.search.trial import ExpertCost, Trial, expert_costs, plan_trial
from ast_ray.stages.device import real_data
from tests.tiny import Recorder, tiny_config

pytestmark = pytest.mark.ray
BUDGET = {"tune.budget": 4, "tune.grace": 2, "tune.report_every": 2, "tune.scheduler": "fifo", "compute.backend": "ray"}


class Rows(Recorder):
    """A sink that remembers trials as well."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[TrialRow] = []

    def trial(self, row: TrialRow) -> None:
        self.rows.append(row)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def data(root: Path) -> RealData:
    return real_data(tiny_config(root).data, torch.device("cpu"))


@pytest.fixture(scope="module")
def capacity(root: Path) -> Iterator[Capacity]:
    quiet_tune()
    with ray_session(tiny_config(root, {"compute.backend": "ray"}).compute) as found:
        yield dataclasses.replace(found, slots=min(2, found.slots))


@pytest.fixture(scope="module")
def keeper(capacity: Capacity) -> Any:
    """One actor for the tests of buffers; searches start their own."""
    return open_buffers("buffers-of-tests")


def ten_trials(config: Config, data: RealData, path: Path) -> list[Trial]:
    search_directory = SearchDirectory(path)
    return [plan_trial(config, {"distill.rho": 0.01 * number}, data.data_id, search_directory) for number in range(10)]


def test_ten_trials_that_want_one_new_buffer_train_it_once(
    keeper: Any, data: RealData, root: Path, tmp_path: Path
) -> None:
    config = tiny_config(root, {**BUDGET, "expert.count": 4})
    costs = [ExpertCost() for _ in range(10)]

    def provide(number: int, trial: Trial) -> None:
        SharedExperts(keeper, f"trial-{number}")(trial, Recorder(), costs[number])
        assert trial.buffer.missing() == []

    trials = ten_trials(config, data, tmp_path)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(provide, range(10), trials))
    trained = Counter((row["buffer"], row["expert"]) for row in expert_costs(trials[0].search))
    assert trained == {(trials[0].buffer.folder.name, number): 1 for number in range(4)}
    assert sum(cost.trained > 0 for cost in costs) <= 4
    assert sum(cost.waited > 0 for cost in costs) >= 6


def test_a_dead_holders_expert_and_a_dead_keeper_hold_no_one_up(
    keeper: Any, data: RealData, root: Path, tmp_path: Path
) -> None:
    trial = ten_trials(tiny_config(root, BUDGET), data, tmp_path)[0]
    trial.buffer.prepare()
    assert ray.get(keeper.need.remote(trial.buffer, "dead")).expert_id == 0
    ray.get(keeper.drop.remote("dead"))
    ray.kill(keeper, no_restart=False)
    SharedExperts(keeper, "alive")(trial, Recorder(), ExpertCost())
    assert [row["expert"] for row in expert_costs(trial.search)] == [0, 1]


def test_one_diverging_buffer_is_tried_once(keeper: Any, data: RealData, root: Path, tmp_path: Path) -> None:
    trials = ten_trials(tiny_config(root, {**BUDGET, "expert.lr": 1e6}), data, tmp_path)
    for number in range(2):
        with pytest.raises(DivergenceError, match="expert 0 diverged"):
            SharedExperts(keeper, str(number))(trials[number], Recorder(), ExpertCost())
    assert expert_costs(trials[0].search) == []


def test_a_function_of_the_space_that_ends_the_process(
    capacity: Capacity, data: RealData, root: Path, tmp_path: Path
) -> None:
    config = tiny_config(root, {**BUDGET, "tune.space": "mine.py"})
    checked: list[str] = []
    space = {"distill.rho": tune.sample_from(lambda _: sys.exit(0) if checked else config.distill.rho)}
    draws = prepare(config, Space("mine", "", "", space, {}))
    checked.append("the space, which calls the function too")
    told = r"tune\.space = 'mine\.py': its code ends the process \(sys\.exit, code 0\)"
    with pytest.raises(ConfigError, match=told):
        search(config, data.data_id, draws, SearchDirectory(tmp_path), capacity, Rows())


class KillOnce:
    """Passes results on, and kills the worker of the first trial that reports a rung and is not done."""

    def __init__(self, on_trial_result: Any) -> None:
        self._pass_on, self.killed = on_trial_result, False

    def __get__(self, watcher: Watcher, owner: type) -> Any:
        def handle(iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
            self._pass_on(watcher, iteration, trials, trial, result, **info)
            if not self.killed and result["status"] == "running":
                self.killed = True
                os.kill(result["pid"], signal.SIGKILL)

        return handle


@pytest.fixture(scope="module")
def searched(
    capacity: Capacity, data: RealData, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, SearchDirectory, dict[str, Any], Rows]:
    """A grid of four: one good whose worker is killed at its first rung, one that diverges, two invalid ones."""
    config = tiny_config(root, {**BUDGET, "tune.searcher": "grid"})
    space = {"distill.expert_epochs": tune.grid_search([2, 9]), "distill.student_lr": tune.grid_search([0.02, 1e6])}
    directory, sink = SearchDirectory(tmp_path_factory.mktemp("search")), Rows()
    draws = prepare(config, Space("mine", "", "", space, {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "on_trial_result", KillOnce(Watcher.on_trial_result))
        spent = search(config, data.data_id, draws, directory, capacity, sink)
    assert spent.wall > spent.busy / spent.slots > 0
    return config, directory, space, sink


def test_trials_that_break_are_recorded_and_the_search_goes_on(
    searched: tuple[Config, SearchDirectory, dict[str, Any], Rows],
) -> None:
    _, directory, _, sink = searched
    records = {
        (record.overrides["distill.expert_epochs"], record.overrides["distill.student_lr"]): record
        for record in read_records(directory.trials)
    }
    statuses = {key: record.status for key, record in records.items()}
    assert statuses == {(2, 0.02): "finished", (2, 1e6): "diverged", (9, 0.02): "invalid", (9, 1e6): "invalid"}
    assert [rung.iteration for rung in records[2, 0.02].rungs] == [2, 4]
    assert Counter(row["expert"] for row in expert_costs(directory)) == {0: 1, 1: 1}
    assert [message for message in sink.messages if "its worker was lost; it goes on" in message]
    ended = {row.number: row.status for row in sink.rows}
    assert sorted(ended.values()) == ["diverged", "finished", "invalid", "invalid"]


def test_every_ended_trial_is_on_the_hparams_page(
    searched: tuple[Config, SearchDirectory, dict[str, Any], Rows],
) -> None:
    _, directory, _, _ = searched
    for record in read_records(directory.trials):
        events = EventAccumulator(str(directory.trial_board(record.fingerprint)))
        events.Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        shown = HParamsPluginData.FromString(content).session_start_info.hparams
        assert {name: value.number_value for name, value in shown.items() if name != "status"} == record.overrides
        assert shown["status"].string_value == record.status


def test_the_report_has_table_plots_and_the_best_configuration(
    searched: tuple[Config, SearchDirectory, dict[str, Any], Rows],
) -> None:
    config, directory, _, _ = searched
    report_search(config, directory, [])
    table = pq.read_table(directory.table).to_pylist()
    assert sorted(row["status"] for row in table) == ["diverged", "finished", "invalid", "invalid"]
    assert all(directory.picture(name).exists() for name in ("importance", "parallel", "convergence"))
    assert "expert_epochs: 2" in directory.best.read_text(encoding="utf-8")


def test_the_same_search_again_does_no_work(
    capacity: Capacity, data: RealData, searched: tuple[Config, SearchDirectory, dict[str, Any], Rows]
) -> None:
    config, directory, space, _ = searched
    before = {path: path.read_bytes() for path in directory.trials.glob("*/*.json*")}
    again = search(config, data.data_id, prepare(config, Space("mine", "", "", space, {})), directory, capacity, Rows())
    assert {path: path.read_bytes() for path in directory.trials.glob("*/*.json*")} == before
    assert again.busy == 0


def test_a_population_shares_states_and_every_member_ends(
    capacity: Capacity, data: RealData, root: Path, tmp_path: Path
) -> None:
    config = tiny_config(root, {**BUDGET, "tune.scheduler": "pbt", "tune.trials": 3, "tune.budget": 6})
    space = {"distill.step_img": tune.loguniform(0.01, 0.5), "distill.student_lr": tune.uniform(0.01, 0.03)}
    directory = SearchDirectory(tmp_path)
    search(config, data.data_id, prepare(config, Space("mine", "", "", space, {})), directory, capacity, Rows())
    records = read_records(directory.trials)
    assert sorted(record.fingerprint for record in records) == ["pbt-00000", "pbt-00001", "pbt-00002"]
    assert {record.status for record in records} == {"finished"}
    assert all([rung.iteration for rung in record.rungs] == [2, 4, 6] for record in records)
