"""A second export takes the place of the first and of nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import ast_ray
from ast_ray.errors import ResourceError, StoreError
from ast_ray.storage import mirror
from ast_ray.storage.export import FORMATS, export_set
from ast_ray.storage.export.folder import own_files
from tests.object_store import ObjectStore
from tests.storage.export.test_containers import make_set


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("container", FORMATS)
def test_what_a_user_put_there_stays(container: str, tmp_path: Path) -> None:
    target = export_set(make_set(), tmp_path / "out", container)
    (target / ".git").mkdir()
    (target / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (target / "NOTES.md").write_text("years of work")
    before = files(target)
    with pytest.raises(StoreError, match=r"since then \.git/HEAD, NOTES\.md, \.git \(added\).*choose another --out"):
        export_set(make_set(), target, container)
    assert files(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    shutil.rmtree(target / ".git")
    (target / "NOTES.md").unlink()
    export_set(make_set(), target, container)
    assert ast_ray.load(target).images.equal(make_set().images)


def test_what_a_user_edited_stays(tmp_path: Path) -> None:
    target = export_set(make_set(), tmp_path / "out", "hf")
    with (target / "README.md").open("a") as file:
        file.write("Contact: me\n")
    with pytest.raises(StoreError, match=r"README\.md \(edited\)"):
        export_set(make_set(), target, "hf")
    assert "Contact: me" in (target / "README.md").read_text()
    target = export_set(make_set(), tmp_path / "other", "npz")
    description = json.loads((target / "dataset.json").read_text())
    (target / "dataset.json").write_text(json.dumps({**description, "note": "mine"}))
    with pytest.raises(StoreError, match=r"dataset\.json \(edited\)"):
        export_set(make_set(), target, "npz")


@pytest.mark.parametrize("kind", ["empty folder", "link", "link to a folder", "pipe"])
def test_not_only_files_belong_to_the_user(kind: str, tmp_path: Path) -> None:
    target = export_set(make_set(), tmp_path / "out", "pt")
    (tmp_path / "elsewhere").mkdir()
    mine = target / "mine"
    if kind == "empty folder":
        mine.mkdir()
    elif kind == "pipe":
        os.mkfifo(mine)
    else:
        mine.symlink_to(target / "synthetic.pt" if kind == "link" else tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"mine \(added\)"):
        export_set(make_set(), target, "pt")
    assert os.path.lexists(mine)


def test_an_export_without_a_list_is_left_alone(tmp_path: Path) -> None:
    target = export_set(make_set(), tmp_path / "out", "npz")
    description = json.loads((target / "dataset.json").read_text())
    del description["files"]
    (target / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(StoreError, match="without a list of its files; delete it, or choose another --out"):
        export_set(make_set(), target, "npz")
    assert (target / "synthetic.npz").exists()


def test_what_is_gone_of_an_export_is_no_obstacle(tmp_path: Path) -> None:
    target = export_set(make_set(), tmp_path / "out", "png")
    (target / "model-space.safetensors").unlink()
    export_set(make_set(), target, "png")
    assert ast_ray.load(target).images.equal(make_set().images)


def test_a_failure_while_replacing_leaves_the_old_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = export_set(make_set(), tmp_path / "out", "npz")
    before, replace = files(target), os.replace

    def failing(source: Path, place: Path) -> None:
        if place == target and Path(source, "dataset.json").exists() and not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            raise OSError(5, "Input/output error")
        replace(source, place)

    monkeypatch.setattr(os, "replace", failing)
    other = dataclasses.replace(make_set(), student_lr=0.5)
    with pytest.raises(ResourceError, match="Input/output error"):
        export_set(other, target, "npz")
    assert (tmp_path / "failed").exists()
    assert files(target) == before


def test_an_address_keeps_nothing_of_the_export_before(object_store: ObjectStore) -> None:
    target = mirror.view(object_store.address("exports/png"))
    export_set(make_set(), target, "png")
    half = dataclasses.replace(make_set(), images=make_set().images[:3], labels=torch.tensor([0, 1, 2]))
    export_set(half, target, "png")
    names = [name for name in object_store.names("exports/png") if name.endswith(".png") and ".sums" not in name]
    assert len(names) == 3
    export_set(half, target, "png")
    assert own_files(target)
