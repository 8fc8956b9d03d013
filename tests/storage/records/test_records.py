"""The JSON files of a run: absent is None, damaged is an error that says what to do, or counts as absent to a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_ray.config import Config, to_yaml
from ast_ray.config.text_seal import sealed_text
from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.records.evaluation import whole_row
from ast_ray.storage.records.features import read_features, whole_features
from ast_ray.storage.records.manifest import read_manifest, whole_manifest
from ast_ray.storage.records.marker import read_marker
from ast_ray.storage.records.outcome import read_outcome, whole_outcome
from ast_ray.storage.records.results import read_results, whole_results
from ast_ray.storage.records.settings import read_settings, read_values
from tests.damage import changed_digits

OUTCOME = {"fingerprint": "f", "iterations": 3, "best_iteration": 2, "validation_accuracy": 0.5, "student_lr": 0.01}
ROW = {"set": "ast", "network": "convnet", "protocol": "strict", "mean": 0.5, "std": None, "n": 1, "images": 10}
FEATURES = {
    "token": "t",
    "distilled": True,
    "method": "ast",
    "classes": [{"name": "0", "explained": [0.5, 0.25], "points": {"real": [[1, 2]]}}],
}
NETWORK = {
    "set": "ast",
    "network": "convnet",
    "protocol": "strict",
    "seed": 0,
    "accuracy": 0.5,
    "loss": 2.0,
    "classes": 10,
    "images": 10,
    "lr": 0.01,
    "lr_source": "learned",
    "passes": 5,
    "augmentation": "none",
    "best_pass": None,
    "token": "t",
}
READERS: dict[str, tuple[Callable[[Path], Any], Any, str]] = {
    "outcome": (read_outcome, OUTCOME, "validation_accuracy"),
    "results": (read_results, {"rows": [ROW]}, "rows"),
    "manifest": (read_manifest, {"commands": [{"command": ["ast-ray"]}]}, "commands"),
    "features": (read_features, FEATURES, "classes"),
    "marker": (read_marker, {"fingerprint": "f", "identity": {}}, "identity"),
}
BAD = ("", "{", "null", "3", "[]", '{"x": 3}', "\x00", '{"rows": [{}]}', "NaN", "[" * 5000)


@pytest.mark.parametrize("name", READERS)
def test_a_document_is_read_absent_or_named(name: str, tmp_path: Path) -> None:
    read, value, part = READERS[name]
    path = tmp_path / f"{name}.json"
    assert read(path) is None
    path.write_text(json.dumps(value))
    assert read(path) == value
    path.write_text(json.dumps({**value, part: 3.5}))
    with pytest.raises(StoreError, match=rf"{name}\.json: damaged \({part} = 3\.5"):
        read(path)
    for content in BAD:
        path.write_text(content)
        with pytest.raises(StoreError, match=rf"{name}\.json: damaged"):
            read(path)


@pytest.mark.parametrize("name", READERS)
def test_a_changed_digit_of_a_sealed_document_is_named(name: str, tmp_path: Path) -> None:
    read, value, _ = READERS[name]
    path = tmp_path / f"{name}.json"
    write_document(path, value)
    assert read(path) == value
    for changed in changed_digits(path.read_bytes()):
        path.write_bytes(changed)
        with pytest.raises(StoreError, match=rf"{name}\.json: damaged \(its checksum is wrong\)"):
            read(path)


def test_to_a_run_a_changed_digit_is_no_document(tmp_path: Path) -> None:
    wholes: dict[str, tuple[Callable[[Path], object], dict[str, Any]]] = {
        "outcome": (whole_outcome, OUTCOME),
        "results": (whole_results, {"rows": [ROW]}),
        "features": (whole_features, FEATURES),
        "row": (whole_row, NETWORK),
    }
    for name, (read, value) in wholes.items():
        path = tmp_path / f"{name}.json"
        write_document(path, value)
        assert read(path) == value
        for changed in changed_digits(path.read_bytes()):
            path.write_bytes(changed)
            assert read(path) is None, changed


@pytest.mark.parametrize("content", BAD)
def test_to_a_run_that_makes_it_again_damaged_is_absent(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert whole_outcome(path) is whole_results(path) is whole_features(path) is whole_row(path) is None
    assert whole_manifest(path)["commands"] == []


def test_a_row_of_a_network(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    assert whole_row(path) is None
    path.write_text(json.dumps(NETWORK))
    assert whole_row(path) == NETWORK
    path.write_text(json.dumps({**NETWORK, "accuracy": 50}))
    assert whole_row(path) is None


@pytest.mark.parametrize("change", [{"explained": [0.5]}, {"points": {"real": [[1, 2, 3]]}}])
def test_features_lie_on_two_axes(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "features.json"
    path.write_text(json.dumps({**FEATURES, "classes": [{**FEATURES["classes"][0], **change}]}))  # type: ignore[index]
    with pytest.raises(StoreError, match="not on two axes"):
        read_features(path)


def test_settings_that_were_damaged_or_edited(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(sealed_text(to_yaml(Config())))
    assert read_settings(path) == Config()
    whole = path.read_text()
    path.write_text(whole.replace("seed: 0", "seed: 1"))
    with pytest.raises(StoreError, match=r"config\.yaml: cannot be read \(damaged or edited.*delete that line"):
        read_settings(path)
    path.write_text(whole.replace("seed: 0", "seed: 1").partition("\n")[2])
    assert read_settings(path).seed == 1


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(Config()))
    assert read_settings(path) == Config()
    path.write_text("seed: 1\ndistill: {ipc: 0}\nof_a_later_version: {x: 3}\n")
    assert read_values(path)["of_a_later_version"] == {"x": 3}
    with pytest.raises(StoreError, match=r"(?s)config\.yaml: holds settings that cannot be.*distill\.ipc = 0"):
        read_settings(path)
    for content in ("", "- 1", "{", "1: 2", "\x00", "a: &x [*x]", "a: {1: 2}", "a: &x {b: *x}"):
        path.write_text(content)
        with pytest.raises(StoreError, match=r"config\.yaml: (cannot be read|holds settings that cannot be)"):
            read_settings(path)
