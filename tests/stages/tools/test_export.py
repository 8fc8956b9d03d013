"""From a run to containers and back, and from other people's files to a set."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ast_ray
from ast_ray.config import Config
from ast_ray.errors import DataError, StoreError
from ast_ray.stages.evaluation.named_sets import set_jobs, set_paths
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, evaluate_sets
from ast_ray.stages.tools.export import export_sets, import_set, space_of
from ast_ray.storage.export import FORMATS, export_set
from tests import documents
from tests.tiny import Recorder, serial_run, subprocess_environment

Tiny = Callable[..., Config]


@pytest.fixture(scope="module")
def whitened(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run with ZCA instead of mean and deviation."""
    config = tiny(data__preprocess="zca", run__methods="ast", run__baselines="random")
    return serial_run(config, tmp_path_factory.mktemp("whitened"))


@pytest.mark.parametrize("name", ["reference", "whitened"])
def test_every_container_gives_the_reported_accuracy_in_a_fresh_process(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    plan: Plan = request.getfixturevalue(name)
    run = plan.directory
    export_sets(set_paths([str(run.method("ast").path)]), list(FORMATS), tmp_path / "out")
    command = [sys.executable, "-m", "ast_ray", "evaluate", *(str(tmp_path / "out" / item) for item in FORMATS)]
    command += ["--backend", "serial", "--json", "--out", str(tmp_path / "rows")]
    done = subprocess.run(command, capture_output=True, text=True, env=subprocess_environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    reported = next(row for row in documents.content(run.results)["rows"] if row["set"] == "ast")
    found = {row["set"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(found) == set(FORMATS)
    for row in found.values():
        assert abs(row["mean"] - reported["mean"]) <= reported["std"]
        assert row["accuracies"] == reported["accuracies"]  # exact values, the same networks: not only within the std


def test_what_the_run_measured_goes_with_its_sets(reference: Plan, tmp_path: Path) -> None:
    written = export_sets(set_paths([str(reference.directory.path)]), ["npz"], tmp_path)
    assert [(item["set"], Path(item["path"]).relative_to(tmp_path).as_posix()) for item in written] == [
        ("ast", "ast/npz"),
        ("mtt", "mtt/npz"),
    ]
    rows = documents.content(reference.directory.results)["rows"]
    reported = ast_ray.load(written[0]["path"]).provenance["reported"]
    assert reported == [row for row in rows if row["set"] == "ast"]


def real_images(plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images per class, in model space."""
    data = plan.data
    rows = torch.cat([torch.nonzero(data.train_labels == label).flatten()[:2] for label in range(10)])
    return data.train_images[rows], data.train_labels[rows]


@pytest.mark.parametrize("name", ["reference", "whitened"])
def test_images_come_in_from_every_space(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    plan: Plan = request.getfixturevalue(name)
    images, labels = real_images(plan)
    template = ast_ray.load(plan.directory.method("ast").synthetic)
    mean, std = template.mean[:1], template.std[:1]
    pixels = template.whitening.undo(images) if template.whitening else images * std[0] + mean[0]
    pixels = pixels.clamp(0, 1)
    forms = {
        "model": (images, {}),
        "pixels": (pixels, {}),
        "bytes": ((pixels * 255).round().to(torch.uint8), {}),
        "other": ((pixels - 0.1) / 0.3, {"mean": (0.1,), "std": (0.3,)}),
    }
    for form, (values, given) in forms.items():
        torch.save({"images": values, "labels": labels}, tmp_path / f"{form}.pt")
        found = import_set(plan.config, plan.data, tmp_path / f"{form}.pt", None, **given)
        torch.testing.assert_close(found.images, images, atol=2e-3, rtol=0, msg=form)
        assert found.ipc == 2
        assert found.provenance["method"] == "imported"
        assert found.provenance["config"]["distill"]["ipc"] == 2


def test_sets_of_two_runs_keep_what_each_run_measured(reference: Plan, tmp_path: Path) -> None:
    rows = documents.content(reference.directory.results)["rows"]
    for number, run in enumerate(("one", "two")):
        shutil.copytree(reference.directory.path / "distill" / "ast", tmp_path / run / "distill" / "ast")
        changed = [{**row, "mean": 0.1 + number / 2} for row in rows]
        (tmp_path / run / "results.json").write_text(json.dumps({"rows": changed}))
    paths = set_paths([str(tmp_path / "one"), str(tmp_path / "two")])
    written = {item["set"]: item["path"] for item in export_sets(paths, ["npz"], tmp_path / "out")}
    assert set(written) == {"one-ast", "two-ast"}
    for number, path in enumerate(written.values()):
        assert {row["mean"] for row in ast_ray.load(path).provenance["reported"]} == {0.1 + number / 2}


def test_a_set_under_the_name_of_real_images_has_no_reported_rows(reference: Plan, tmp_path: Path) -> None:
    place = tmp_path / "run" / "distill" / "random"
    shutil.copytree(reference.directory.method("ast").path, place)
    shutil.copy(reference.directory.results, tmp_path / "run" / "results.json")
    (item,) = export_sets(set_paths([str(place)]), ["npz"], tmp_path / "out")
    assert "reported" not in ast_ray.load(item["path"]).provenance


def test_an_imported_set_is_evaluated_with_its_own_rate(reference: Plan, tmp_path: Path) -> None:
    images, labels = real_images(reference)
    torch.save(images, tmp_path / "images_best.pt")
    torch.save(labels, tmp_path / "labels_best.pt")
    plan, config = reference, reference.config
    found = import_set(config, plan.data, tmp_path / "images_best.pt", tmp_path / "labels_best.pt")
    written = export_set(found, tmp_path / "npz", "npz")
    jobs = set_jobs(config, set_paths([str(written)]), tmp_path / "rows")
    (row,) = evaluate_sets(jobs, SerialExecutor(Recorder()), Recorder())
    assert (row["set"], row["images"], row["n"]) == ("npz", 20, 2)
    lines = [documents.content(path) for path in (tmp_path / "rows").glob("npz-*.json")]
    assert {line["lr"] for line in lines} == {config.distill.student_lr or config.evaluate.real_lr}


def test_whole_numbers_and_the_unit_interval_are_pixels() -> None:
    assert space_of(torch.tensor([0, 255], dtype=torch.uint8)) == "pixels"
    assert space_of(torch.tensor([0.0, 1.0])) == "pixels"
    assert space_of(torch.tensor([-0.1, 1.0])) == "model"
    assert space_of(torch.tensor([0.0, 1.1])) == "model"
    assert space_of(torch.tensor([0.0, 128.0, 255.0])) == "pixels"  # what was uint8 before it became float
    assert space_of(torch.tensor([-1.0, 2.0])) == "model"


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.uint16, torch.int64, torch.float32, torch.float64])
def test_pixels_are_read_alike_whatever_holds_them(reference: Plan, tmp_path: Path, kind: torch.dtype) -> None:
    _, labels = real_images(reference)
    pixels = torch.randint(0, 256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    torch.save({"images": pixels.to(kind), "labels": labels}, tmp_path / "x.pt")
    found = import_set(reference.config, reference.data, tmp_path / "x.pt", None)
    assert found.provenance["space"] == "pixels"
    assert torch.equal(found.images, found.to_model_space(pixels.float() / 255))


def test_files_that_do_not_fit_are_refused(reference: Plan, tmp_path: Path) -> None:
    images, labels = real_images(reference)
    cases = {
        r"images are \(20, 8, 8, 1\), the data needs \[S, 1, 8, 8\]; channels come first": (
            images.permute(0, 2, 3, 1),
            labels,
        ),
        r"images are \(20, 1, 8, 7\)": (images[..., :7], labels),
        "20 images, 19 labels": (images, labels[:19]),
        "label 10 out of range 0..9": (images, labels + 1),
        "5 images for 10 classes": (images[:5], labels[:5]),
        "not finite": (images * float("nan"), labels),
        "label -1 out of range 0..9": (images, labels - 1),
        "no image of 1 class: 3; at least one each": (images, torch.where(labels == 3, 4, labels)),
        "pixels from -1 to 3; expected whole numbers from 0 to 255": (
            torch.arange(-1, 4)[labels % 5].view(20, 1, 1, 1).expand(20, 1, 8, 8).contiguous(),
            labels,
        ),
        "pixels from 0 to 256": ((256 * (labels > 4)).view(20, 1, 1, 1).expand(20, 1, 8, 8).contiguous(), labels),
    }
    for message, (values, numbers) in cases.items():
        torch.save({"images": values, "labels": numbers}, tmp_path / "x.pt")
        with pytest.raises(DataError, match=message):
            import_set(reference.config, reference.data, tmp_path / "x.pt", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images > 0, "images are torch.bool, expected whole numbers or floats"),
        (lambda images: images.to(torch.complex64), "images are complex64, not numbers"),
        (lambda images: images.to_sparse(), "images are not a dense tensor"),
    ],
)
def test_tensors_that_are_no_images(
    reference: Plan, tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    images, labels = real_images(reference)
    torch.save({"images": change(images), "labels": labels}, tmp_path / "x.pt")
    with pytest.raises(StoreError, match=message):
        import_set(reference.config, reference.data, tmp_path / "x.pt", None)


def test_pixels_by_word_have_a_range(reference: Plan, tmp_path: Path) -> None:
    images, labels = real_images(reference)
    torch.save({"images": images * 100 + 0.25, "labels": labels}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"pixels from .*expected whole numbers from 0 to 255, or floats from 0 to 1"):
        import_set(reference.config, reference.data, tmp_path / "x.pt", None, space="pixels")


def test_statistics_that_make_infinities_are_refused(reference: Plan, tmp_path: Path) -> None:
    images, labels = real_images(reference)
    torch.save({"images": images + 3, "labels": labels}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="with this mean and std some values are not finite"):
        import_set(reference.config, reference.data, tmp_path / "x.pt", None, mean=(0.5,), std=(1e38,))
