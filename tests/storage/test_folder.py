"""Handles of folders: what the floors above storage ask them, on this machine and behind an address."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ast_ray.errors import ConfigError, StoreError
from ast_ray.storage.atomic import write_text
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.folder import Folder
from ast_ray.storage.run_directory import RunDirectory
from tests.object_store import ObjectStore


@pytest.fixture
def address(object_store: ObjectStore, request: pytest.FixtureRequest) -> str:
    """An address nobody else uses."""
    return object_store.address(request.node.name)


def elsewhere(text: str, machine: Path) -> RunDirectory:
    """The handle of the same address on another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AST_RAY_CACHE", str(machine))
        return RunDirectory.at(text)


def test_a_plain_folder_is_worked_on_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDirectory.open("runs/digits", "out")
    assert type(run) is RunDirectory
    assert run.path == tmp_path / "runs" / "digits"
    assert str(run) == f"{run}" == str(run.path)
    assert run.is_local
    assert not run.path.exists()
    assert not run.fetch(run.results)
    write_text(run.results, "{}")
    assert run.fetch(run.results)
    assert run.fetch("results.json")
    assert run.size(run.results) == 2
    assert run.list("*.json") == [run.results]
    run.pull()
    run.publish()
    run.remove(run.results)
    assert run.list("*.json") == []


def test_a_path_to_look_at_stays_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDirectory.open_read_only("runs/digits")
    assert str(run) == "runs/digits"
    write_text(run.results, "{}")
    assert run.fetch(run.results)  # a whole path below a relative folder is not put behind it again
    assert run.fetch("results.json")
    assert run.shown(run.results) == run.shown("results.json") == "runs/digits/results.json"
    assert run.resolved() == RunDirectory(tmp_path / "runs" / "digits")


def test_an_address_is_named_as_it_was_typed(address: str) -> None:
    run = RunDirectory.open(address, "out")
    assert not run.is_local
    named = str(run)
    assert RunDirectory.at(named) == run
    assert named.startswith(address.partition("?")[0])
    assert str(run / "distill" / "ast") == str(run.method("ast"))
    assert run.shown(run.results) == str(run / "results.json")
    looked_at = RunDirectory.open_read_only(address)
    assert looked_at.path != run.path
    assert str(looked_at) == named


def test_a_folder_that_was_published_is_there_elsewhere(address: str, tmp_path: Path) -> None:
    run, there = RunDirectory.open(address, "out"), elsewhere(address, tmp_path / "there")
    assert str(there) == str(run)
    (run.path / "tensorboard").mkdir(parents=True)
    (run.path / "tensorboard" / "events").write_text("1")
    (run.path / "tensorboard" / "more").write_text("22")
    board, board_there = Folder(run.tensorboard), Folder(there.tensorboard)
    board.publish("more")
    assert board_there.list("*") == [there.tensorboard / "more"]
    board.publish()
    assert board_there.list("*") == [there.tensorboard / "events", there.tensorboard / "more"]
    assert board_there.size("more") == 2
    there.pull(without=("tensorboard",))
    assert not there.tensorboard.exists()
    assert board_there.fetch("events")
    assert (there.tensorboard / "events").read_text() == "1"
    board_there.remove("events")
    board.pull()
    assert [path.name for path in run.tensorboard.glob("*") if path.is_file()] == ["more"]


def test_a_handle_travels_with_a_job(address: str) -> None:
    run = RunDirectory.at(address)
    assert pickle.loads(pickle.dumps(run)) == run
    buffer = Buffer(run.experts / "0123", {"seed": 1}, 2)
    assert str(pickle.loads(pickle.dumps(buffer)).directory) == str(run / "experts" / "0123")
    assert not buffer.directory.is_local


def test_experts_are_listed_by_buffer(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for name in ("b/expert-00000.parquet", "a/expert-00001.parquet", "a/buffer.json"):
        write_text(run.experts / name, "x")
    assert run.expert_files() == [
        run.experts / "a" / "expert-00001.parquet",
        run.experts / "b" / "expert-00000.parquet",
    ]


def test_refusals_name_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AST_RAY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"out = 's3x://bucket': unknown scheme"):
        Folder.open("s3x://bucket", "out")
    posing = Folder(tmp_path / "storage" / "s3%3A%2F%2Fbucket" / "run")
    with pytest.raises(StoreError, match="has the name of an address's mirror"):
        posing.genuine()
    assert Folder(tmp_path).genuine() == Folder(tmp_path)
