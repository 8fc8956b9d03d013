"""``ast-ray export`` and ``ast-ray import``, and evaluation of what they write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

import ast_ray
from ast_ray.stages.run.pipeline import Plan
from tests.tiny import arguments

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def a_set(reference: Plan) -> Path:
    """One distilled set of a run."""
    return reference.directory.method("ast").synthetic


def test_every_format_at_once(call: Call, a_set: Path, tmp_path: Path) -> None:
    result = call("export", str(a_set.parent), "--format", "all", "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.stderr
    written = json.loads(result.stdout)["written"]
    assert [item["format"] for item in written] == ["safetensors", "hf", "png", "npz", "pt"]
    for item in written:
        assert torch.equal(ast_ray.load(item["path"]).images, ast_ray.load(a_set).images)


def test_names_are_checked_before_anything_is_written(call: Call, a_set: Path, tmp_path: Path) -> None:
    result = call("export", str(a_set), "--format", "npz,pngs", "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "format = 'pngs': unknown format; did you mean 'png'?" in result.stderr
    assert not (tmp_path / "out").exists()
    assert call("export", str(a_set), "--format", ",").exit_code == 2
    assert "no synthetic set here" in call("export", str(tmp_path)).stderr


def test_an_export_is_evaluated_beside_its_folder(call: Call, a_set: Path, tmp_path: Path) -> None:
    assert call("export", str(a_set), "--format", "hf", "--out", str(tmp_path)).exit_code == 0
    words = ("--backend", "serial", "--evaluate.networks", "1", "--architectures", "mlp-w8")
    result = call("evaluate", str(tmp_path / "hf"), *words)
    assert result.exit_code == 0, result.stderr
    assert "mlp-w8" in result.stdout
    assert (tmp_path / "hf-evaluation" / "rows.parquet").exists()
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == ["README.md", "data", "dataset.json"]


def test_scores_bring_what_they_need(call: Call, a_set: Path, tmp_path: Path) -> None:
    words = ("--backend", "serial", "--evaluate.networks", "1", "--scores", "true", "--json", "--out", str(tmp_path))
    rows = json.loads(call("evaluate", str(a_set), *words).stdout)["rows"]
    groups = {(row["set"], row["protocol"]): row for row in rows}
    assert list(groups) == [
        ("random", "strict"),
        ("random", "no-augmentation"),
        ("ast", "strict"),
        ("ast", "no-augmentation"),
        ("full", "strict"),
    ]
    assert {"ior", "hlr", "lrs", "ars"} <= groups["ast", "strict"].keys()


def test_real_images_alone(call: Call, root: Path, tmp_path: Path) -> None:
    words = [*arguments(root, {"evaluate.networks": "1"}), "--json", "--out", str(tmp_path)]
    result = call("evaluate", "random", "herding", *words)
    assert result.exit_code == 0, result.stderr
    assert [row["set"] for row in json.loads(result.stdout)["rows"]] == ["random", "herding"]


def test_images_of_others_come_in_and_are_evaluated(call: Call, root: Path, reference: Plan, tmp_path: Path) -> None:
    data = reference.data
    rows = torch.cat([torch.nonzero(data.train_labels == label).flatten()[:3] for label in range(10)])
    torch.save(data.train_images[rows], tmp_path / "images_best.pt")
    torch.save(data.train_labels[rows], tmp_path / "labels_best.pt")
    target = tmp_path / "theirs.safetensors"
    files = (str(tmp_path / "images_best.pt"), "--labels", str(tmp_path / "labels_best.pt"))
    result = call("import", *files, "--to", str(target), *arguments(root), "--student-lr", "0.05")
    assert result.exit_code == 0, result.stderr
    assert "30 images, read as model, trained with rate 0.05" in result.stdout
    words = ("--backend", "serial", "--evaluate.networks", "1", "--json", "--out", str(tmp_path / "rows"))
    found = call("evaluate", str(target), *words)
    assert found.exit_code == 0, found.stderr
    (row,) = json.loads(found.stdout)["rows"]
    assert row["images"] == 30


def test_import_says_what_is_wrong(call: Call, root: Path, tmp_path: Path) -> None:
    torch.save(torch.zeros(10, 1, 8, 8), tmp_path / "x.pt")
    words = arguments(root)
    wrong = call("import", str(tmp_path / "x.pt"), "--to", "set.pt", "--mean", "0.5", *words)
    assert wrong.exit_code == 2
    assert "a .safetensors file, e.g." in wrong.stderr
    assert "--mean and --std belong together" in wrong.stderr
    channels = ("--mean", "0.5,0.5", "--std", "0.2,0.2")
    wrong = call("import", str(tmp_path / "x.pt"), "--to", str(tmp_path / "s.safetensors"), *channels, *words)
    assert "one number per channel, with --std: 1" in wrong.stderr
    for mean, std, told in (
        ("nan", "0.2", ["mean = nan: must be finite"]),
        ("0.5", "inf", ["std = inf: must be finite and above 0"]),
        ("-inf", "nan", ["mean = -inf: must be finite", "std = nan: must be finite and above 0"]),
        ("0.5", "0", ["std = 0.0: must be finite and above 0"]),
        ("0.5", "-1", ["std = -1.0: must be finite and above 0"]),
    ):
        given = (f"--mean={mean}", f"--std={std}", "--to", str(tmp_path / "s.safetensors"))
        wrong = call("import", str(tmp_path / "x.pt"), *given, *words)
        assert wrong.exit_code == 2
        assert all(text in wrong.stderr for text in told)
    labels = tmp_path / "labels.pt"
    torch.save(torch.full((10,), 0.5), labels)
    wrong = call(
        "import", str(tmp_path / "x.pt"), "--labels", str(labels), "--to", str(tmp_path / "s.safetensors"), *words
    )
    assert wrong.exit_code == 1
    assert "labels are not whole numbers" in wrong.stderr
    assert not (tmp_path / "s.safetensors").exists()
