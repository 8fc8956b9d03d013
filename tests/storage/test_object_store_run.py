"""A whole run at an s3:// address: the bytes of a local one, nothing done twice, gone on with on a fresh machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ast_ray.config import Config
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, run_all, train_buffers
from ast_ray.storage import mirror
from tests.object_store import ObjectStore
from tests.tiny import Recorder, artefacts, serial_run, tiny_plan

FEWER = {"run__methods": "ast", "run__baselines": "random"}


@pytest.fixture(scope="module")
def local(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The same run in a folder."""
    return serial_run(tiny(**FEWER), tmp_path_factory.mktemp("local"))


def at(store: ObjectStore, key: str, expected: Path) -> None:
    """The objects of a run are the files of another, byte for byte."""
    for name, content in artefacts(expected).items():
        assert store.content(f"{key}/{name}") == content, name


def another_machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Forget everything that was cached."""
    monkeypatch.setenv("AST_RAY_CACHE", str(folder))
    mirror._checked.clear()


def run(config: Config, address: str) -> Recorder:
    sink, path = Recorder(), mirror.place(address)
    mirror.pull(path, without=("experts", "tensorboard"))
    run_all(tiny_plan(config, path), SerialExecutor(sink), sink)
    return sink


def test_same_bytes_then_nothing_then_on_another_machine(
    object_store: ObjectStore,
    tiny: Callable[..., Config],
    local: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = object_store.address("runs/one")
    run(tiny(**FEWER), address)
    at(object_store, "runs/one", local.directory.path)
    names = object_store.names("runs/one")
    assert {"results.json", "evaluation/rows.parquet", "distill/ast/synthetic.png"} <= names.keys()
    assert any(name.startswith("tensorboard/distill/ast/events") for name in names)
    assert any(name.startswith("tensorboard/experts/") for name in names)

    assert run(tiny(**FEWER), address).updates == []
    another_machine(monkeypatch, tmp_path / "second")
    assert run(tiny(**FEWER), address).updates == []
    assert object_store.names("runs/one").keys() == names.keys()
    assert not list((tmp_path / "second").rglob("expert-*.parquet")), "experts were fetched that nobody reads"


class Stop(Exception):  # noqa: N818
    pass


class StopAt(Recorder):
    def __init__(self, key: str, done: int) -> None:
        super().__init__()
        self.key, self.done = key, done

    def update(self, update: object) -> None:
        super().update(update)  # type: ignore[arg-type]
        if (self.updates[-1].key, self.updates[-1].done) == (self.key, self.done):
            raise Stop


def test_a_fresh_machine_goes_on_where_another_stopped(
    object_store: ObjectStore,
    tiny: Callable[..., Config],
    local: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = object_store.address("runs/two")
    sink = StopAt("distill ast", 5)
    with pytest.raises(Stop):
        run_all(tiny_plan(tiny(**FEWER), mirror.place(address)), SerialExecutor(sink), sink)
    another_machine(monkeypatch, tmp_path / "second")
    told = run(tiny(**FEWER), address)
    assert [update.key for update in told.updates if "expert" in update.key] == []
    assert [update.done for update in told.updates if update.key == "distill ast"] == [5, 6]
    at(object_store, "runs/two", local.directory.path)


def test_every_seventh_request_fails(object_store: ObjectStore, tiny: Callable[..., Config], local: Plan) -> None:
    """Answered by "503 Slow Down" and by a dropped connection in turn."""
    object_store.faults(every=7, how="both")
    run(tiny(**FEWER), object_store.address("runs/seventh"))
    counts = object_store.faults()
    assert counts["failed"] > 20
    at(object_store, "runs/seventh", local.directory.path)


def test_a_killed_expert_is_gone_on_with_on_another_machine_and_leaves_nothing(
    object_store: ObjectStore,
    tiny: Callable[..., Config],
    local: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, config = object_store.address("runs/epochs"), tiny(**FEWER, compute__checkpoint_seconds=0)
    plan = tiny_plan(config, mirror.place(address))
    with pytest.raises(Stop):
        train_buffers(plan, ["ast"], SerialExecutor(StopAt("ast expert 1", 2)))
    another_machine(monkeypatch, tmp_path / "second")
    sink, plan = Recorder(), tiny_plan(config, mirror.place(address))
    train_buffers(plan, ["ast"], SerialExecutor(sink))
    assert [(update.key, update.done) for update in sink.updates] == [("ast expert 1", 3)]
    name = f"experts/{plan.buffer('ast').fingerprint}/expert-00001.parquet"
    assert object_store.content(f"runs/epochs/{name}") == (local.directory.path / name).read_bytes()
    assert [name for name in object_store.names("runs/epochs") if "epochs-" in name] == []
