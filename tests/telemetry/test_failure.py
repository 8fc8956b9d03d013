"""The record of a method that failed, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ast_ray.storage.run_directory import RunDirectory
from ast_ray.telemetry.failure import Failure, FailureRecord, read_failure, run_failures
from tests import documents
from tests.damage import changed_digits
from tests.tiny import subprocess_environment

DIVERGED = Failure("mtt", "distillation", "DivergenceError", "alpha would become -0.003", "lower it", True, 2)
NETWORKS = Failure(
    "full", "evaluation", "DivergenceError", "loss nan", "", True, None, (1, 3), 5, network="convnet", protocol="strict"
)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (DIVERGED, "failed, iteration 2: alpha would become -0.003"),
        (dataclasses.replace(DIVERGED, iteration=None), "failed, distillation: alpha would become -0.003"),
        (dataclasses.replace(DIVERGED, stage="experts", numbers=(3,), count=5), "failed, experts: alpha would become"),
        (dataclasses.replace(DIVERGED, stage="experts", numbers=(0, 3), count=5), "failed, 2 of 5 experts: alpha"),
        (NETWORKS, "failed, 2 of 5 convnet networks: loss nan"),
        (dataclasses.replace(NETWORKS, protocol="peak"), "failed, 2 of 5 convnet networks (peak): loss nan"),
    ],
)
def test_what_failed_in_words_and_there_and_back(failure: Failure, text: str) -> None:
    assert failure.what.startswith(text)
    assert Failure.of_row(failure.row()) == failure


def test_a_record_is_read_back_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    place = RunDirectory(tmp_path).method("mtt")
    assert read_failure(place) is None
    record = FailureRecord(DIVERGED, "all of it", "experts", "method", {"torch": "2"})
    record.write(place)
    assert read_failure(place) == record
    whole = place.failure.read_bytes()
    for changed in changed_digits(whole):
        place.failure.write_bytes(changed)
        assert read_failure(place) is None, changed
    place.failure.write_text('{"set": "mtt"}')
    assert read_failure(place) is None
    place.failure.write_text(json.dumps(documents.content_of(whole)))
    assert read_failure(place) == record, "written by an earlier version, without a checksum"


def test_methods_are_told_by_their_records_and_the_rest_by_the_last_results(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    old = [DIVERGED.row(), NETWORKS.row(), {"set": "of another version"}]
    assert run_failures(directory, ["ast", "mtt"], old) == [NETWORKS], "mtt is being tried again"
    FailureRecord(DIVERGED, "", "", "").write(directory.method("mtt"))
    assert run_failures(directory, ["ast", "mtt"], old) == [DIVERGED, NETWORKS]
    assert run_failures(directory, ["ast"], []) == []


def test_reading_it_loads_no_torch() -> None:
    code = "import sys; import ast_ray.telemetry.failure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=subprocess_environment()).returncode == 0
