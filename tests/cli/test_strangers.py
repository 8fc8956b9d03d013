"""A set or a run directory of a stranger: looking at it joins, fetches, downloads and reads nothing on its word."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from click.testing import Result

import ast_ray
from ast_ray.config import ComputeConfig, Config, TuneConfig
from ast_ray.stages import device as context
from ast_ray.stages.run.open import record_run
from ast_ray.stages.run.pipeline import Plan
from ast_ray.stages.tools.features import write_features
from ast_ray.storage import mirror
from ast_ray.storage.synthetic import save_synthetic
from tests.tiny import tiny_plan

Call = Callable[..., Result]
EVIL = {
    "compute.address": "203.0.113.5:6379",
    "compute.store": "s3://bucket/x?endpoint_override=203.0.113.5:9000&scheme=http",
    "compute.workers": 3,
}


@pytest.fixture
def traps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may stand for an address, and torchvision may not download."""

    def never(*_: object, **options: object) -> object:
        raise AssertionError("reached out")

    monkeypatch.setattr(mirror, "_mirror", never)
    monkeypatch.setattr("ast_ray.ray_backend.session.ray_session", never)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether torchvision was asked to download, each time."""
    asked: list[bool] = []

    def opened(_root: str, *, train: bool, download: bool) -> object:
        asked.append(download)
        raise RuntimeError("Dataset not found.")

    monkeypatch.setattr("torchvision.datasets.MNIST", opened)
    return asked


def changed(values: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    """Nested settings with some replaced by path."""
    found: dict[str, Any] = json.loads(json.dumps(dict(values)))
    for path, value in changes.items():
        section, _, name = path.rpartition(".")
        (found.setdefault(section, {}) if section else found)[name] = value
    return found


@pytest.fixture
def stranger(reference: Plan, tmp_path: Path) -> Callable[[Mapping[str, object]], Path]:
    """A set whose description asks for what it likes."""

    def make(changes: Mapping[str, object]) -> Path:
        known = ast_ray.load(reference.directory.method("ast").synthetic)
        config = changed(known.provenance["config"], changes)
        path = tmp_path / "theirs" / "synthetic.safetensors"
        save_synthetic(path, dataclasses.replace(known, provenance={**known.provenance, "config": config}))
        return path

    return make


@pytest.mark.usefixtures("traps")
def test_a_set_decides_neither_where_nor_with_what(
    call: Call, stranger: Callable[[Mapping[str, object]], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Config] = []
    monkeypatch.setattr("ast_ray.cli.session.check_device", seen.append)
    path = stranger({**EVIL, "data.root": str(tmp_path / "chosen"), "tune.space": "/theirs.py", "data.placement": "x"})
    words = ("--evaluate.networks", "1", "--backend", "serial", "--out", str(tmp_path / "rows"))
    result = call("evaluate", str(path), *words)
    assert result.exit_code == 0, result.stderr
    assert seen[0].compute == dataclasses.replace(ComputeConfig(), backend="serial")
    assert seen[0].tune == TuneConfig()
    assert seen[0].data.placement == "auto"
    assert not (tmp_path / "chosen").exists()


def test_images_that_a_set_names_by_a_path_are_not_read(
    call: Call, stranger: Callable[[Mapping[str, object]], Path], pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = context.load_real_data

    def watched(config: Any, device: Any) -> Any:
        opened.append(config.source)
        return real(config, device)

    monkeypatch.setattr(context, "load_real_data", watched)
    path = stranger({"data.source": str(pets), "data.validation_size": 6, "data.train_size": 0})
    words = ("--evaluate.networks", "1", "--backend", "serial")
    result = call("evaluate", str(path), *words)
    assert result.exit_code == 2
    assert f"--source {pets}" in result.stderr
    assert opened == []
    asked = call("evaluate", str(path), *words, "--source", str(pets))
    assert opened == [str(pets)]
    assert "the data's (3, 16, 16)" in asked.stderr  # read, since the user said so; these are other images


def test_a_dataset_that_a_set_names_is_downloaded_only_when_asked(
    call: Call, stranger: Callable[[Mapping[str, object]], Path], tmp_path: Path, downloads: list[bool]
) -> None:
    path = stranger({"data.source": "mnist", "data.download": True})
    words = ("evaluate", str(path), "--backend", "serial", "--root", str(tmp_path / "root"))
    result = call(*words)
    assert result.exit_code == 1
    assert "let it be downloaded (--download)" in result.stderr
    assert downloads == [False]
    call(*words, "--download")
    call(*words, "--source", "mnist")
    assert downloads == [False, True, True]


@pytest.fixture
def run(reference: Plan, tiny: Callable[..., Config], tmp_path: Path) -> Path:
    """A finished run of a stranger, without features."""
    shutil.copytree(reference.directory.path, tmp_path / "theirs")
    record_run(tiny_plan(tiny(), tmp_path / "theirs"), ["ast-ray", "run"])
    return tmp_path / "theirs"


def edit(run: Path, changes: Mapping[str, object]) -> None:
    file = run / "config.yaml"
    file.write_text(yaml.safe_dump(changed(yaml.safe_load(file.read_text()), changes)))


@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("source", ["mnist", "/etc", "photos"])
def test_a_report_reaches_nowhere(call: Call, run: Path, tmp_path: Path, downloads: list[bool], source: str) -> None:
    edit(run, {**EVIL, "data.root": str(tmp_path / "chosen"), "data.source": source})
    result = call("report", str(run), "--root", str(tmp_path / "mine"))
    assert result.exit_code == 0, result.stderr
    page = (run / "report.html").read_text()
    assert "Features of the images are not shown" in page
    assert ("--source" if source != "mnist" else "--download") in page
    assert True not in downloads
    assert not (tmp_path / "chosen").exists()


def test_a_report_reads_what_the_user_names(
    call: Call, run: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "experts").rename(tmp_path / "store")
    edit(run, {"compute.store": str(tmp_path / "store"), "data.root": str(tmp_path / "chosen")})
    without = call("report", str(run), "--root", str(root))
    assert without.exit_code == 0, without.stderr
    page = (run / "report.html").read_text()
    assert f"--store {tmp_path / 'store'} shows them" in page
    assert "no expert to look through" in page
    told = call("report", str(run), "--root", str(root), "--store", str(tmp_path / "store"))
    assert told.exit_code == 0, told.stderr
    page = (run / "report.html").read_text()
    assert "shows them" not in page
    assert "Features of class 0" in page


def test_features_that_are_there_need_no_images(
    call: Call, run: Path, tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_features(tiny_plan(tiny(), run), "ast")
    edit(run, {"data.source": "/nowhere"})

    def never(*_: object) -> object:
        raise AssertionError("images were loaded")

    monkeypatch.setattr(context, "load_real_data", never)
    result = call("report", str(run))
    assert result.exit_code == 0, result.stderr
    assert "Features of class 0" in (run / "report.html").read_text()


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/elsewhere"])
def test_a_configuration_does_not_decide_where_a_run_is_written(
    call: Call, words: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    (work / "x.yaml").write_text(yaml.safe_dump({"preset": name, "compute": {"backend": "serial"}}))
    for command in ("run", "experts", "evaluate", "tune"):
        more = ["random"] if command == "evaluate" else []
        result = call(command, *more, "--config", "x.yaml")
        assert result.exit_code == 2, result.output
        assert f"preset = '{name}': expected a plain name" in result.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "x.yaml"]


def test_a_folder_that_poses_as_an_address_is_refused(
    call: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path below such a folder would be fetched from the server its name spells."""
    pose = tmp_path / "zip" / "views" / quote("s3://bucket?endpoint_override=203.0.113.5:9000", safe="") / "run"
    pose.parent.mkdir(parents=True)
    run.rename(pose)
    (tmp_path / "innocent").symlink_to(pose)

    def never(*_: object, **__: object) -> object:
        raise AssertionError("an address was asked")

    for name in ("listing", "read", "size", "check", "download"):
        monkeypatch.setattr(f"ast_ray.storage.object_store.{name}", never)
    for place in (pose, tmp_path / "innocent"):
        for command in (("info",), ("report", "--no-features"), ("export",), ("evaluate",), ("tensorboard",)):
            result = call(*command, str(place))
            assert result.exit_code == 1, result.output
            assert "has the name of an address's mirror but is none" in result.stderr
    (tmp_path / "run" / "distill").mkdir(parents=True)
    (tmp_path / "run" / "distill" / "ast").symlink_to(pose / "distill" / "ast")
    result = call("evaluate", str(tmp_path / "run"), "--backend", "serial")
    assert result.exit_code == 1, result.output
    assert "has the name of an address's mirror but is none" in result.stderr
