from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from ast_ray.errors import StoreError
from ast_ray.report.records import read_run
from ast_ray.storage.trajectory import read_metrics
from tests import documents


def test_a_finished_run_is_read_whole(run: Path) -> None:
    record = read_run(run)
    assert record.finished
    assert [method.name for method in record.methods] == ["ast", "mtt"]
    assert {row["set"] for row in record.rows} == {"ast", "mtt", "random"}
    for method in record.methods:
        assert method.iterations == 6
        assert sorted(method.snapshots) == [0, 1, 2, 3, 4, 5, 6]
        assert len(method.experts) == 2


def test_avg_var_is_the_mean_of_the_moves_in_the_files(run: Path) -> None:
    record = read_run(run).methods[0]
    folders = [folder for folder in (run / "experts").iterdir() if len(list(folder.glob("*.parquet"))) == 2]
    means = []
    for folder in folders:
        files = sorted(folder.glob("*.parquet"))
        means.append(statistics.fmean(statistics.fmean(read_metrics(file)["move"][1:]) for file in files))
    assert record.avg_var is not None
    assert any(mean == pytest.approx(record.avg_var) for mean in means)
    assert len(set(means)) == 2


def test_a_begun_run_is_read_too(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "begun")
    (tmp_path / "begun" / "results.json").unlink()
    (tmp_path / "begun" / "distill" / "ast" / "outcome.json").unlink()
    shutil.rmtree(tmp_path / "begun" / "distill" / "mtt")
    record = read_run(tmp_path / "begun")
    assert not record.finished
    assert record.methods[0].outcome is None
    assert record.methods[1].metrics == []


def test_a_run_without_one_of_its_sets_is_not_finished(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "lost")
    (tmp_path / "lost" / "distill" / "mtt" / "synthetic.safetensors").unlink()
    record = read_run(tmp_path / "lost")
    assert [method.outcome is None for method in record.methods] == [False, True]
    assert not record.finished


def test_tables_of_later_evaluations_are_joined(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "more")
    row = {"set": "ast", "network": "vgg11", "protocol": "strict", "mean": 0.5, "std": 0.1, "n": 3, "images": 20}
    place = tmp_path / "more" / "distill" / "ast" / "evaluation"
    place.mkdir()
    (place / "results.json").write_text(json.dumps({"rows": [row]}))
    assert row in read_run(tmp_path / "more").rows


def test_the_row_of_more_networks_counts_and_scores_are_joined(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "more")
    own = {(row["set"], row["network"]): row for row in documents.content(run / "results.json")["rows"]}
    more = {**own["ast", "convnet"], "mean": 0.5, "n": 3}
    scored = {**own["mtt", "convnet"], "mean": 0.9, "ars": 0.2}
    place = tmp_path / "more" / "distill" / "ast" / "evaluation"
    place.mkdir()
    (place / "results.json").write_text(json.dumps({"rows": [more, scored]}))
    found = {row["set"]: row for row in read_run(tmp_path / "more").rows}
    assert (found["ast"]["mean"], found["ast"]["n"]) == (0.5, 3)
    assert (found["mtt"]["mean"], found["mtt"]["ars"]) == (own["mtt", "convnet"]["mean"], 0.2)


def test_experts_of_an_older_version_are_still_found(run: Path, tmp_path: Path) -> None:
    """A setting that came later changes the fingerprint, not what the experts are."""
    shutil.copytree(run, tmp_path / "older")
    for number, folder in enumerate(sorted((tmp_path / "older" / "experts").iterdir())):
        marker = documents.content(folder / "buffer.json")
        del marker["identity"]["expert"]["penalty_norm"]
        (folder / "buffer.json").write_text(json.dumps(marker))
        folder.rename(folder.with_name(f"old-{number}"))
    old, new = read_run(tmp_path / "older").methods, read_run(run).methods
    assert [method.avg_var for method in old] == [method.avg_var for method in new]
    assert old[0].avg_var != old[1].avg_var


def test_what_is_no_run_and_what_is_damaged_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        read_run(tmp_path)
    shutil.copytree(run, tmp_path / "damaged")
    (tmp_path / "damaged" / "results.json").write_text('{"rows": [')
    with pytest.raises(StoreError, match=r"results\.json: damaged .*delete it"):
        read_run(tmp_path / "damaged")


def test_neither_torch_nor_ray_is_loaded() -> None:
    code = "import sys, ast_ray.report.page; print([name for name in ('torch', 'ray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
