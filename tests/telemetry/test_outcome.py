from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ast_ray.errors import StoreError
from ast_ray.storage.run_directory import MethodDirectory
from ast_ray.telemetry.outcome import damage, is_finished, publish_outcome, read_outcome
from tests import documents

VALUES = {
    "method": "ast",
    "fingerprint": "f00",
    "iterations": 6,
    "best_iteration": 3,
    "validation_accuracy": 0.5,
    "student_lr": 0.01,
}


@pytest.fixture
def place(tmp_path: Path) -> MethodDirectory:
    """A distillation's folder with two sets and no outcome."""
    directory = MethodDirectory(tmp_path / "ast")
    directory.path.mkdir()
    for path in (directory.synthetic, directory.last):
        save_file({"images": np.arange(100, dtype=np.float32)}, path)
    return directory


def test_what_is_published_is_read(place: MethodDirectory) -> None:
    assert read_outcome(place) is None
    assert not is_finished(place, "f00")
    published = publish_outcome(place, {**VALUES, "warning": None})
    assert documents.content(place.outcome) == published
    found = read_outcome(place)
    assert found is not None
    assert (found["iterations"], found["best_iteration"], found["validation_accuracy"]) == (6, 3, 0.5)
    assert found["files"] == published["files"]
    assert damage(place, found) == ""
    assert is_finished(place, "f00")
    assert not is_finished(place, "another")


def test_every_damage_is_named(place: MethodDirectory) -> None:
    publish_outcome(place, VALUES)
    outcome = read_outcome(place)
    assert outcome is not None
    content = bytearray(place.synthetic.read_bytes())
    content[-1] ^= 128
    place.synthetic.write_bytes(content)
    assert damage(place, outcome) == "synthetic.safetensors is damaged"
    place.last.unlink()
    assert damage(place, outcome) == "synthetic.safetensors is damaged, last.safetensors is missing"
    place.last.mkdir()
    assert damage(place, outcome) == "synthetic.safetensors is damaged, last.safetensors is damaged"
    assert not is_finished(place, "f00")


def test_sets_of_an_outcome_without_checksums_are_read(place: MethodDirectory) -> None:
    place.outcome.write_text(json.dumps(VALUES))
    assert is_finished(place, "f00")
    place.synthetic.write_bytes(place.synthetic.read_bytes()[:-1])
    assert not is_finished(place, "f00")


def test_an_outcome_names_no_files_of_its_own(place: MethodDirectory) -> None:
    (place.path.parent / "secret").write_text("x")
    publish_outcome(place, VALUES)
    written = documents.content(place.outcome)
    place.outcome.write_text(json.dumps({**written, "files": {**written["files"], "../secret": "0"}}))
    assert is_finished(place, "f00")


@pytest.mark.parametrize("content", ["", "3", "[]", "{}", '{"iterations": "many"}', '{"files": [1]}', "\x00"])
def test_what_is_no_outcome_is_an_error_and_not_finished(place: MethodDirectory, content: str) -> None:
    place.outcome.write_text(content)
    with pytest.raises(StoreError, match=r"outcome\.json: damaged \(.*\); delete it and the same run makes it again"):
        read_outcome(place)
    assert not is_finished(place, "f00")
