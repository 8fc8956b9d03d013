"""What lies beside the work and is the user's: read at most, never replaced, deleted or taken for something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

import ast_ray.report
from ast_ray.config import apply_overrides
from ast_ray.config.presets import preset
from ast_ray.errors import StoreError
from ast_ray.report.page import MARK
from ast_ray.stages.run.changes import refuse_others_files
from ast_ray.stages.run.preflight import check_apart
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.replaced import check_own
from ast_ray.storage.run_directory import RunDirectory
from tests.cli.conftest import parsed_error
from tests.conftest import MakePicture

Call = Callable[..., Result]
report = import_module("ast_ray.cli.report")  # the package has a command of this name


@pytest.mark.parametrize("name", ["manifest.json", "results.json", "features.json"])
def test_a_run_replaces_no_document_of_somebody_else(
    call: Call, words: Callable[..., list[str]], tmp_path: Path, name: str
) -> None:
    mine = tmp_path / name
    mine.write_text('{"checksums": "mine"}')
    told = parsed_error(call("run", *words(), "--out", tmp_path, "--json"))
    assert told["type"] == "StoreError"
    assert f"{mine}: exists and was not written by ast-ray" in told["message"]
    assert mine.read_text() == '{"checksums": "mine"}'
    assert not (tmp_path / "config.yaml").exists()


def test_a_manifest_that_a_killed_run_left_alone_is_replaced(tmp_path: Path) -> None:
    write_document(tmp_path / "manifest.json", {"commands": []})
    refuse_others_files(RunDirectory(tmp_path))


def test_samples_replace_their_own_picture_and_nobody_elses(
    call: Call, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "samples-pets.png"
    picture.write_bytes(b"mine")
    refused = call("data", "inspect", pets, "--root", tmp_path / "cache")
    assert refused.exit_code == 1
    assert f"{picture}: exists and was not written by ast-ray" in refused.stderr
    assert "--png" in refused.stderr
    assert picture.read_bytes() == b"mine"
    assert not (tmp_path / "cache").exists()
    picture.unlink()
    for _ in range(2):
        assert call("data", "inspect", pets, "--root", tmp_path / "cache").exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_page_of_several_runs_replaces_no_other_page(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "report.html"
    page.write_text("<html>coverage of my tests")
    result = call("report", "one", "two", "--json")
    assert parsed_error(result)["type"] == "StoreError"
    assert "--out" in parsed_error(result)["message"]
    assert page.read_text() == "<html>coverage of my tests"


def test_a_page_carries_the_mark_that_lets_it_be_replaced(tmp_path: Path) -> None:
    template = Path(ast_ray.report.__file__).with_name("templates") / "report.html"
    check_own(template, MARK, "--out")
    check_own(tmp_path / "absent", MARK, "--out")
    with pytest.raises(StoreError, match="was not written by ast-ray"):
        check_own(tmp_path, MARK, "--out")


def test_the_cache_lists_and_clears_what_was_written_there(call: Call, pets: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    assert call("data", "inspect", pets, "--root", root, "--png", tmp_path / "x.png").exit_code == 0
    model, folder = root / "decoded" / "model.safetensors", root / "decoded" / "a-0123456789abcdef.safetensors"
    model.write_bytes(b"mine")
    folder.mkdir()
    listed = json.loads(call("data", "list", "--root", root, "--json").stdout)
    assert [item["kind"] for item in listed] == ["images"]
    assert call("data", "clear", "--root", root).exit_code == 0
    assert sorted((root / "decoded").iterdir()) == [folder, model]


@pytest.mark.parametrize("where", ["run", "cat/run"])
def test_nothing_is_written_among_the_images(
    call: Call, words: Callable[..., list[str]], pets: Path, where: str
) -> None:
    """A run's own pictures would be images of a class the next time."""
    before = sorted(pets.rglob("*"))
    result = call("run", *words(), "--source", pets, "--root", pets, "--out", pets / where, "--json")
    assert result.exit_code == 2
    told = parsed_error(result)["message"]
    assert f"out = '{pets / where}': lies inside {pets}" in told
    assert "data.root = " in told
    assert sorted(pets.rglob("*")) == before


def test_a_run_may_lie_beside_the_splits_of_a_folder_of_images(tmp_path: Path, make_picture: MakePicture) -> None:
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            make_picture(tmp_path / split / name / "0.png")
    given = {"data.source": str(tmp_path), "data.root": str(tmp_path / "cache")}
    check_apart(apply_overrides(preset("digits"), given), tmp_path / "run")


def test_a_cache_that_may_not_be_read_takes_the_features_and_not_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/cache/digits.safetensors")

    record = SimpleNamespace(path=tmp_path, config=preset("digits"), methods=["ast"], features=None)
    monkeypatch.setattr(report, "read_run", lambda *_, **__: record)
    monkeypatch.setattr(report, "_compute_features", refused)
    _, notes = report._records([tmp_path], {}, features=True)
    told = "Features of the images are not shown: /cache/digits.safetensors: Permission denied"
    assert notes == {str(tmp_path): [told]}
