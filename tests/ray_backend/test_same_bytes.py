"""The same seed gives the same bytes: in one process, on Ray with one worker or two, and with workers killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ast_ray.config import Config
from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, evaluate_sets, evaluation_jobs, run_all
from ast_ray.telemetry.progress import ProgressSink, Update
from tests import documents
from tests.tiny import Recorder, assert_same, serial_run, tiny_plan

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("slots", [1, 2])
def test_ray_gives_the_bytes_of_one_process(
    tiny: Callable[..., Config], serial: Plan, local_ray: None, tmp_path: Path, slots: int
) -> None:
    plan = tiny_plan(tiny(), tmp_path)
    results = run_all(plan, RayExecutor(Capacity(1, 0, slots), Recorder()), Recorder())
    assert_same(tmp_path, serial.directory.path)
    assert results == documents.content(serial.directory.results)


def test_ray_gives_the_bytes_of_one_process_for_methods_without_experts(
    tiny: Callable[..., Config], local_ray: None, tmp_path: Path
) -> None:
    config = tiny(
        run__methods="dm,dc,cafe,frepo", run__baselines="random", feature_alignment__inner_limit=2,
        feature_regression__pool=2,
    )  # fmt: skip
    alone = serial_run(config, tmp_path / "serial")
    results = run_all(tiny_plan(config, tmp_path / "ray"), RayExecutor(Capacity(1, 0, 2), Recorder()), Recorder())
    assert_same(tmp_path / "ray", alone.directory.path)
    assert results == documents.content(alone.directory.results)


class KillsItself:
    """A stage whose worker is killed by SIGKILL in the middle of its job, the first time each job is told to be at
    ``when`` units."""

    def __init__(self, function: Callable[..., object], folder: Path, when: int) -> None:
        self.function, self.folder, self.when = function, folder, when

    def __call__(self, job: object, sink: ProgressSink) -> object:
        return self.function(job, Deadly(sink, self.folder, self.when))


class Deadly:
    """Passes updates on; kills its process once per job."""

    def __init__(self, sink: ProgressSink, folder: Path, when: int) -> None:
        self.sink, self.folder, self.when = sink, folder, when

    def update(self, update: Update) -> None:
        flag = self.folder / update.key.replace(" ", "-")
        if update.done == self.when and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.sink.update(update)

    def say(self, message: str) -> None:
        self.sink.say(message)


class DeadlyExecutor:
    """A Ray executor whose long-lived workers are killed once per job."""

    def __init__(self, inner: RayExecutor, folder: Path, when: int) -> None:
        self.inner, self.folder, self.when = inner, folder, when

    def run(
        self, function: Callable[..., object], jobs: Sequence[object], *, long_lived: bool = True, **rest: object
    ) -> Iterator[object]:
        deadly = KillsItself(function, self.folder, self.when) if long_lived else function
        return self.inner.run(deadly, jobs, long_lived=long_lived, **rest)  # type: ignore[type-var,arg-type]


def test_every_worker_killed_once_in_the_middle(
    tiny: Callable[..., Config], serial: Plan, local_ray: None, tmp_path: Path
) -> None:
    """Two experts after their second epoch, the distillation in its second iteration."""
    flags, sink = tmp_path / "flags", Recorder()
    flags.mkdir()
    plan = tiny_plan(tiny(), tmp_path / "run")
    executor = DeadlyExecutor(RayExecutor(Capacity(1, 0, 2), sink), flags, when=2)
    run_all(plan, executor, Recorder())  # type: ignore[arg-type]
    assert sorted(flag.name for flag in flags.iterdir()) == ["ast-expert-0", "ast-expert-1", "distill-ast"]
    assert sum("its worker was lost" in message for message in sink.messages) == 3
    assert_same(plan.directory.path, serial.directory.path)


def test_networks_evaluated_together_give_the_rows_of_one_process(
    tiny: Callable[..., Config], two_slots: Capacity, tmp_path: Path
) -> None:
    settings = {
        "run__methods": "none",
        "run__baselines": "full",
        "evaluate__networks": 3,
        "compute__networks_together": 2,
    }
    rows: dict[str, list[dict[str, object]]] = {}
    for name, executor in (("serial", SerialExecutor(Recorder())), ("ray", RayExecutor(two_slots, Recorder()))):
        jobs, sink = evaluation_jobs(tiny_plan(tiny(**settings), tmp_path / name)), Recorder()
        evaluate_sets(jobs, executor, sink)
        assert [update.done for update in sink.updates] == [1, 2, 3]
        paths = [job.row(index) for job in jobs for index in job.indices]
        rows[name] = [documents.content(path) | {"seconds": 0} for path in paths]
    assert rows["ray"] == rows["serial"]


def test_a_run_begun_serially_is_gone_on_with_on_ray(
    tiny: Callable[..., Config], serial: Plan, two_slots: Capacity, tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    class StopInDistillation(Recorder):
        def update(self, update: Update) -> None:
            if update.key == "distill ast" and update.done == 3:
                raise StopError

    plan = tiny_plan(tiny(), tmp_path)
    with pytest.raises(StopError):
        run_all(plan, SerialExecutor(StopInDistillation()), Recorder())
    run_all(plan, RayExecutor(two_slots, Recorder()), Recorder())
    assert_same(tmp_path, serial.directory.path)
