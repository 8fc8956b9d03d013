from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result

from ast_ray.stages.run import pipeline
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.synthetic import load_synthetic, save_synthetic
from tests import documents

Call = Callable[..., Result]


@pytest.fixture
def sets(reference: Plan, tmp_path: Path) -> Path:
    """A run directory with nothing but its distilled sets."""
    shutil.copytree(reference.directory.path / "distill", tmp_path / "run" / "distill")
    return tmp_path / "run"


def evaluate(call: Call, *words: str) -> dict[str, list[dict[str, object]]]:
    result = call("evaluate", *words, "--backend", "serial", "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, list[dict[str, object]]] = json.loads(result.stdout)
    return found


def test_a_run_directory_is_all_its_sets_with_the_settings_they_were_made_with(
    call: Call, sets: Path, reference: Plan, tmp_path: Path
) -> None:
    found = evaluate(call, str(sets), "--out", str(tmp_path / "rows"))
    assert [row["set"] for row in found["rows"]] == ["ast", "mtt"]
    results = {row["set"]: row for row in documents.content(reference.directory.results)["rows"]}
    for row in found["rows"]:
        assert row["n"] == 2
        assert row["images"] == 10
        assert row["accuracies"] == results[str(row["set"])]["accuracies"]  # the same networks, the same streams
    assert documents.content(tmp_path / "rows" / "results.json") == {"rows": found["rows"], "failed": []}


def test_a_set_of_other_images_is_evaluated_with_a_word_about_it(call: Call, sets: Path, tmp_path: Path) -> None:
    path = sets / "distill" / "ast" / "synthetic.safetensors"
    words = ("evaluate", path, "--out", tmp_path / "rows", "--backend", "serial", "--networks", 1)
    assert "other images" not in call(*words).stderr
    synthetic = load_synthetic(path)
    provenance = {**synthetic.provenance, "data_id": "0123456789abcdef"}
    save_synthetic(path, dataclasses.replace(synthetic, provenance=provenance))
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    told = "ast: distilled from other images than it is evaluated on (data.id 0123456789abcdef there, "
    assert told in " ".join(result.stderr.split())


def test_rows_that_are_there_are_not_evaluated_again(
    call: Call, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (str(sets / "distill" / "ast" / "synthetic.safetensors"), "--out", str(tmp_path / "rows"))
    calls: list[str] = []
    real = pipeline.evaluate

    def counted(job: object, sink: object) -> object:
        calls.append(job.key)  # type: ignore[attr-defined]
        return real(job, sink)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "evaluate", counted)
    first = evaluate(call, *words)
    assert calls == ["evaluate ast 0", "evaluate ast 1"]
    assert evaluate(call, *words) == first
    assert len(calls) == 2
    evaluate(call, *words, "--evaluate.networks", "3")
    assert calls[2:] == ["evaluate ast 2"]
    again = evaluate(call, *words, "--passes", "6")
    assert calls[3:] == ["evaluate ast 0", "evaluate ast 1"]
    assert again["rows"][0]["accuracies"] != first["rows"][0]["accuracies"]


def test_a_changed_set_is_evaluated_again(call: Call, sets: Path, tmp_path: Path) -> None:
    path = sets / "distill" / "ast" / "synthetic.safetensors"
    words = (str(path), "--out", str(tmp_path / "rows"), "--evaluate.networks", "1")
    evaluate(call, *words)
    (row,) = (tmp_path / "rows").rglob("*-0.json")
    first = documents.content(row)
    shutil.copy(sets / "distill" / "mtt" / "synthetic.safetensors", path)
    evaluate(call, *words)
    second = documents.content(row)
    assert first["token"] != second["token"]
    assert first["loss"] != second["loss"]


def test_rows_go_beside_the_set_when_no_folder_is_named(call: Call, sets: Path) -> None:
    result = call("evaluate", str(sets / "distill" / "ast"), "--evaluate.networks", "1", "--backend", "serial")
    assert result.exit_code == 0, result.stderr
    assert "AST" in result.stdout
    assert f"rows: {sets / 'distill' / 'ast' / 'evaluation'}" in result.stdout
    assert list((sets / "distill" / "ast" / "evaluation").rglob("ast-convnet-strict-0.json"))


def test_sets_of_the_same_name_keep_apart(call: Call, sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets, tmp_path / "other")
    one, two = sets / "distill" / "ast", tmp_path / "other" / "distill" / "ast"
    words = ("--out", str(tmp_path / "rows"), "--evaluate.networks", "1")
    found = evaluate(call, str(one), str(two), str(one / "synthetic.safetensors"), *words)
    assert [row["set"] for row in found["rows"]] == ["run-ast", "other-ast"]
    again = evaluate(call, str(two), str(one), *words)
    assert [row["set"] for row in again["rows"]] == ["other-ast", "run-ast"]


@pytest.mark.parametrize("name", ["random", "full", "herding"])
def test_a_set_is_never_taken_for_real_images(call: Call, sets: Path, tmp_path: Path, name: str) -> None:
    """Its rows stand beside those of the real images of that name, each with its own accuracies."""
    place = tmp_path / "theirs" / name
    shutil.copytree(sets / "distill" / "ast", place)
    words = ("--out", str(tmp_path / "rows"), "--evaluate.networks", "1")
    found = {row["set"]: row for row in evaluate(call, str(place), name, *words)["rows"]}
    assert set(found) == {name, f"theirs-{name}"}
    (alone,) = evaluate(call, str(sets / "distill" / "ast"), "--out", str(tmp_path / "set"), *words[2:])["rows"]
    assert found[f"theirs-{name}"]["accuracies"] == alone["accuracies"]
    rates = {set_name: tmp_path / "rows" / f"{set_name}-convnet-strict-0.json" for set_name in found}
    assert documents.content(rates[name])["lr_source"] == "real_lr"
    assert documents.content(rates[f"theirs-{name}"])["lr_source"] == "learned"


def test_rows_of_an_earlier_set_of_the_same_name_are_not_counted_in(call: Call, sets: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "rows"))
    evaluate(call, str(sets / "distill" / "ast"), *out, "--evaluate.networks", "2")
    other = tmp_path / "other" / "ast"
    shutil.copytree(sets / "distill" / "mtt", other)
    (row,) = evaluate(call, str(other), *out, "--evaluate.networks", "1")["rows"]
    table = pq.read_table(tmp_path / "rows" / "rows.parquet").to_pylist()
    assert [(item["set"], item["seed"], item["accuracy"]) for item in table] == [("ast", 0, row["accuracies"][0])]


def test_an_unknown_setting_is_told(call: Call, sets: Path, tmp_path: Path) -> None:
    result = call("evaluate", str(sets), "--out", str(tmp_path / "rows"), "--networkz", "3")
    assert result.exit_code == 2
    assert "--networkz: unknown setting; did you mean '--networks'?" in result.stderr
    assert not (tmp_path / "rows").exists()
