"""The mirror of an address: what is uploaded, what is fetched, and what is never taken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ast_ray
from ast_ray.config.address import parse_address
from ast_ray.errors import ConfigError, ResourceError, StoreError
from ast_ray.storage import mirror
from ast_ray.storage import object_store as remote
from ast_ray.storage.atomic import write_json, write_text
from tests.object_store import ObjectStore
from tests.tiny import subprocess_environment


@pytest.fixture
def folder(object_store: ObjectStore, request: pytest.FixtureRequest) -> Path:
    """The mirror of an address nobody else uses."""
    return mirror.place(object_store.address(request.node.name))


def elsewhere(folder: Path, machine: Path) -> Path:
    """The same address on another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AST_RAY_CACHE", str(machine))
        return mirror.place(mirror.shown(folder))


def test_a_path_spells_its_address(object_store: ObjectStore, tmp_path: Path) -> None:
    text = object_store.address("runs/a b/digits")
    path = mirror.place(text)
    assert path.is_relative_to(tmp_path / "cache" / "storage")
    assert str(mirror.address_of(path / "experts" / "x.parquet")) == object_store.address(
        "runs/a b/digits/experts/x.parquet"
    ).replace(":", "%3A").replace("s3%3A//", "s3://")
    assert mirror.address_of(path / ".partial-x" / "y") is None
    assert mirror.address_of(tmp_path / "runs") is None
    assert mirror.view(text) != path
    assert mirror.address_of(mirror.view(text)) == mirror.address_of(path)
    assert mirror.shown(tmp_path) == str(tmp_path)


def test_folders_stay_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mirror.place("runs/digits") == tmp_path / "runs" / "digits"
    assert mirror.view("runs/digits") == Path("runs/digits")
    write_text(tmp_path / "x.txt", "x")
    assert mirror.fetch(tmp_path / "x.txt")
    assert not mirror.fetch(tmp_path / "y.txt")
    assert mirror.listed(tmp_path, "*.txt") == [tmp_path / "x.txt"]
    mirror.pull(tmp_path)
    mirror.publish_tree(tmp_path)
    mirror.check(tmp_path, "out", writing=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_what_is_published_here_is_fetched_there(object_store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    there = elsewhere(folder, tmp_path / "there")
    assert not mirror.fetch(there / "deep" / "x.json")
    write_json(folder / "deep" / "x.json", {"a": 1})
    assert mirror.fetch(there / "deep" / "x.json")
    assert json.loads((there / "deep" / "x.json").read_text()) == {"a": 1}
    write_json(folder / "deep" / "x.json", {"a": 2})
    assert mirror.fetch(there / "deep" / "x.json")
    assert json.loads((there / "deep" / "x.json").read_text()) == {"a": 2}
    assert mirror.listed(there, "*/*.json") == [there / "deep" / "x.json"]
    assert mirror.size(elsewhere(folder, tmp_path / "third") / "deep" / "x.json") == len('{\n "a": 2\n}\n')


def test_what_is_here_is_not_fetched_again(object_store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    write_text(folder / "x.txt", "x" * 100)
    there = elsewhere(folder, tmp_path / "there") / "x.txt"
    assert mirror.fetch(there, once=True)
    object_store.faults()
    assert mirror.fetch(there, once=True)
    assert object_store.faults()["requests"] == 0
    before = there.stat().st_ino
    assert mirror.fetch(there)
    assert there.stat().st_ino == before


def test_publishing_the_same_again_uploads_nothing(object_store: ObjectStore, folder: Path) -> None:
    write_text(folder / "x.txt", "x")
    object_store.faults(every=1, how="deny", only="/x.txt/none")
    object_store.faults()
    write_text(folder / "x.txt", "x")
    assert object_store.faults()["requests"] <= 3


def test_half_an_upload_is_never_taken(object_store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    write_text(folder / "x.bin", "0123456789" * 100)
    object_store.put(f"{folder.name}/x.bin", b"0123456789" * 50)
    there = elsewhere(folder, tmp_path / "there") / "x.bin"
    with pytest.raises(StoreError, match=r"x\.bin.*: half uploaded or damaged"):
        mirror.fetch(there)
    assert not there.exists()
    assert [path for path in there.parent.iterdir() if path.is_file()] == []


def test_a_writer_that_died_leaves_the_old_object_or_the_new(
    object_store: ObjectStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop before each of the requests that replace an object in turn; readers find one of the two, whole."""
    there = elsewhere(folder, tmp_path / "there") / "x.txt"
    for dies_before in range(1, 4):
        write_text(folder / "x.txt", f"old {dies_before}")
        with monkeypatch.context() as patch:
            _die_before(patch, dies_before)
            with pytest.raises(KeyboardInterrupt):
                write_text(folder / "x.txt", f"new {dies_before}")
        assert mirror.fetch(there)
        assert there.read_text() == f"{'old' if dies_before < 3 else 'new'} {dies_before}"
        mirror.pull(folder)  # the writer's machine comes back: what it had finished is published
        assert mirror.fetch(there)
        assert there.read_text() == f"new {dies_before}"


def _die_before(patch: pytest.MonkeyPatch, number: int) -> None:
    calls = []

    def counted(real: object) -> object:
        def call(*arguments: object) -> None:
            calls.append(1)
            if len(calls) == number:
                raise KeyboardInterrupt
            real(*arguments)  # type: ignore[operator]

        return call

    patch.setattr(remote, "write", counted(remote.write))
    patch.setattr(remote, "upload", counted(remote.upload))


def test_a_broken_off_upload_does_not_undo_later_work(
    object_store: ObjectStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(folder / "x.txt", "first")
    with monkeypatch.context() as patch:
        _die_before(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            write_text(folder / "x.txt", "broken off")
    there = elsewhere(folder, tmp_path / "there")
    mirror.fetch(there / "x.txt")
    write_text(there / "x.txt", "later")
    mirror.pull(folder)
    assert (folder / "x.txt").read_text() == "later"


def test_an_upload_that_fails_for_good_is_made_up_for(
    object_store: ObjectStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(2, 0.01, 0.01))
    object_store.faults(every=1, how="503")
    with pytest.raises(ResourceError, match="tried 2 times"):
        write_text(folder / "x.txt", "finished work")
    object_store.faults()
    assert mirror.listed(folder, "*.txt") == [folder / "x.txt"]
    assert object_store.content(f"{folder.name}/x.txt") == b"finished work"


def test_the_address_is_the_truth(object_store: ObjectStore, folder: Path) -> None:
    for name in ("kept.txt", "gone.txt"):
        write_text(folder / name, "x")
    object_store.files.delete_file(f"bucket/{folder.name}/gone.txt")
    mirror.pull(folder)
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["kept.txt"]
    write_text(folder / "gone.txt", "x")
    assert object_store.content(f"{folder.name}/gone.txt") == b"x"


def test_what_another_tool_put_there_is_taken(object_store: ObjectStore, folder: Path) -> None:
    object_store.put(f"{folder.name}/copied/x.txt", b"copied")
    mirror.pull(folder)
    assert (folder / "copied" / "x.txt").read_bytes() == b"copied"
    assert mirror.fetch(folder / "copied" / "x.txt")


def test_pull_leaves_folders_out_and_sees_changes(object_store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    there = elsewhere(folder, tmp_path / "there")
    for name in ("config.yaml", "experts/a.txt", "distill/b.txt"):
        write_text(folder / name, "1")
    mirror.pull(there, without=("experts",))
    assert sorted(path.name for path in there.rglob("*.*") if path.parent.name != ".sums") == [
        ".sums",
        ".sums",
        "b.txt",
        "config.yaml",
    ]
    write_text(folder / "config.yaml", "2")
    mirror.pull(there, without=("experts",))
    assert (there / "config.yaml").read_text() == "2"


def test_removed_means_removed(object_store: ObjectStore, folder: Path) -> None:
    write_text(folder / "x.txt", "x")
    mirror.remove(folder / "x.txt")
    mirror.remove(folder / "x.txt")
    assert object_store.names(folder.name) == {}
    assert not mirror.fetch(folder / "x.txt")


def test_events_are_uploaded_when_they_grew(object_store: ObjectStore, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "events").write_bytes(b"1")
    mirror.publish_tree(folder)
    (folder / "events").write_bytes(b"12")
    mirror.publish_tree(folder)
    assert object_store.content(f"{folder.name}/events") == b"12"
    object_store.faults()
    mirror.publish_tree(folder)
    assert object_store.faults()["requests"] == 0


def test_two_processes_fetch_once(object_store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    write_text(folder / "x.txt", "x" * 1000)
    there = elsewhere(folder, tmp_path / "there") / "x.txt"
    code = "import sys, pathlib; from ast_ray.storage import mirror; assert mirror.fetch(pathlib.Path(sys.argv[1]))"
    object_store.faults()
    both = [subprocess.Popen([sys.executable, "-c", code, str(there)], env=subprocess_environment()) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert there.read_text() == "x" * 1000
    assert list(there.parent.glob(".partial*")) == []


def test_a_set_is_loaded_from_its_address(object_store: ObjectStore) -> None:
    with pytest.raises(StoreError, match="no synthetic set here"):
        ast_ray.load(object_store.address("nothing-here"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s4://bucket/x", r"unknown scheme 's4'; did you mean 's3'"),
        ("s3:/bucket/x", "two slashes"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://user:pa55word@bucket/x", "credentials do not belong in an address"),
        ("s3://bucket/x?secret_key=pa55word", "unknown option 'secret_key'"),
        ("s3://bucket/x?endpoint_overide=h", "did you mean 'endpoint_override'"),
        ("s3://bucket/x?scheme=ftp", "http or https"),
        ("s3://bucket/x?endpoint_override=u:pa55word@h", "credentials belong in the environment"),
        ("s3://bucket/a/../b", "not allowed"),
        ("s3://bucket//a", "not allowed"),
        ("https://pa55word:x@host/x", "unknown scheme 'https'"),
    ],
)
def test_addresses_that_cannot_be(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_address(text, "out")
    assert "pa55word" not in str(caught.value)
    with pytest.raises(ConfigError):
        mirror.place(text)
